//! Replaces the CONNECT of a client by other bytes.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
};

use umqtt::codec::Packet;

/// Returns an address. If a client connects to it, `broker` receives `packet` instead of its CONNECT, and all other
/// bytes unchanged.
pub(crate) fn connect(broker: SocketAddr, packet: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut server = TcpStream::connect(broker).unwrap();
        discard_input(&mut client);
        server.write_all(packet).unwrap();
        let (from, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        thread::spawn(|| carry(from, to));
        carry(client, server);
    });
    address
}

/// Reads and discards one packet.
fn discard_input(client: &mut TcpStream) {
    let mut packet = Vec::new();
    while Packet::decode(&packet).unwrap().is_none() {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        packet.extend(byte);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    // Each side may be closed while bytes are in transit.
    drop(io::copy(&mut from, &mut to));
    drop(to.shutdown(Shutdown::Both));
}
