//! The floor: a loop on a socket that writes prepared bytes, and counts the received bytes.
//!
//! It acknowledges each received packet with the packet id in it, and checks nothing.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use umqtt::codec::{Delivery, PacketId, Publish, QoS, TopicName};

use super::{Meter, Sample, TOPIC, options};
use crate::case::{Case, Direction};

const CONNACK_LEN: usize = 4;
const PUBACK: u8 = 0x40;
const PUBREC: u8 = 0x50;
const PUBREL: u8 = 0x62;
const PUBCOMP: u8 = 0x70;
/// Length of each of these packets.
const ACK_LEN: usize = 4;

pub(crate) fn run(case: &Case) -> Result<Sample> {
    match case.direction {
        Direction::Publish => {
            let stream = connect(case)?;
            publish(case, stream)
        }
        Direction::Receive => {
            let meter = Meter::start(case)?;
            let stream = connect(case)?;
            receive(case, meter, stream)
        }
    }
}

fn connect(case: &Case) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", case.port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut connect = [0; 128];
    stream.write_all(options(case).encode(&mut connect)?)?;
    stream.read_exact(&mut [0; CONNACK_LEN])?;
    Ok(stream)
}

/// Returns an encoded message.
fn packet(case: &Case, qos: QoS, id: usize) -> Result<Vec<u8>> {
    let payload = vec![b'x'; case.size];
    let packet_id = PacketId::new(u16::try_from(id)?).context("not 0")?;
    let dup = false;
    let publish = Publish {
        delivery: match qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            QoS::AtLeastOnce => Delivery::AtLeastOnce { packet_id, dup },
            QoS::ExactlyOnce => Delivery::ExactlyOnce { packet_id, dup },
        },
        ..Publish::new(TopicName::new(TOPIC)?, &payload)
    };
    let mut bytes = vec![0; publish.encoded_len()?];
    publish.encode(&mut bytes)?;
    Ok(bytes)
}

fn publish(case: &Case, mut stream: TcpStream) -> Result<Sample> {
    // A window of messages, whose packet ids are used again and again.
    let mut window = Vec::new();
    for id in 1..=case.window {
        window.extend(packet(case, case.qos, id)?);
    }
    let last = packet(case, QoS::AtLeastOnce, 1)?;
    let meter = Meter::start(case)?;
    if case.qos == QoS::AtMostOnce {
        let mut sent = 1;
        while sent < case.count && !meter.is_over() {
            stream.write_all(&window)?;
            sent += case.window;
        }
        stream.write_all(&last)?;
        stream.read_exact(&mut [0; ACK_LEN])?;
        return meter.stop(sent);
    }
    let len = window.len() / case.window;
    let (mut sent, mut done, mut free) = (0, 0, case.window);
    let mut received = Received::new(case);
    let mut out = Vec::new();
    let mut has_ended = false;
    while done < sent || !has_ended {
        has_ended = has_ended || sent == case.count || meter.is_over();
        if !has_ended {
            let first = sent % case.window;
            let count = free.min(case.count - sent).min(case.window - first);
            let messages = window.get(first * len..(first + count) * len);
            stream.write_all(messages.context("in the window")?)?;
            sent += count;
            free -= count;
            if free > 0 && sent < case.count {
                continue;
            }
        }
        if done == sent {
            continue;
        }
        received.read(&mut stream)?;
        out.clear();
        while let Some([first, _, high, low]) = received.next(ACK_LEN)? {
            match *first {
                PUBREC => out.extend([PUBREL, 2, *high, *low]),
                PUBACK | PUBCOMP => {
                    done += 1;
                    free += 1;
                }
                other => bail!("a packet {other:#x}"),
            }
        }
        if !out.is_empty() {
            stream.write_all(&out)?;
        }
    }
    meter.stop(done)
}

fn receive(case: &Case, meter: Meter, mut stream: TcpStream) -> Result<Sample> {
    let len = packet(case, case.qos, 1)?.len();
    let id_at = len - case.size - 2;
    let mut received = Received::new(case);
    let mut out = Vec::new();
    let mut messages = 0;
    while messages < case.count && !meter.is_over() {
        received.read(&mut stream)?;
        out.clear();
        while let Some(first) = received.first() {
            if first == PUBREL {
                let Some([_, _, high, low]) = received.next(ACK_LEN)? else {
                    break;
                };
                out.extend([PUBCOMP, 2, *high, *low]);
                continue;
            }
            let Some(message) = received.next(len)? else {
                break;
            };
            messages += 1;
            if let Some([high, low, ..]) = message.get(id_at..) {
                match case.qos {
                    QoS::AtMostOnce => {}
                    QoS::AtLeastOnce => out.extend([PUBACK, 2, *high, *low]),
                    QoS::ExactlyOnce => out.extend([PUBREC, 2, *high, *low]),
                }
            }
        }
        if !out.is_empty() {
            stream.write_all(&out)?;
        }
    }
    meter.stop(messages)
}

/// The received bytes that were not counted yet.
struct Received {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Received {
    fn new(case: &Case) -> Self {
        Self {
            buffer: vec![0; 64 * 1024 + case.size],
            start: 0,
            end: 0,
        }
    }

    /// Waits for bytes.
    fn read(&mut self, stream: &mut TcpStream) -> Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        let read = stream.read(room)?;
        ensure!(read > 0, "the broker has closed the connection");
        self.end += read;
        Ok(())
    }

    fn first(&self) -> Option<u8> {
        self.buffer.get(self.start..self.end)?.first().copied()
    }

    /// Returns the next packet of this length, if it is complete.
    fn next(&mut self, len: usize) -> Result<Option<&[u8]>> {
        if self.end - self.start < len {
            return Ok(None);
        }
        let packet = self.buffer.get(self.start..self.start + len);
        self.start += len;
        packet.map(Some).context("in the buffer")
    }
}
