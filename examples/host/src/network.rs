//! The light's way to the broker, and what to say when it fails.

use std::io;

use light::{Failure, RETRY_MS, asynch, blocking};
use umqtt::{
    ProtocolError,
    client::Error,
    codec::ConnectReturnCode,
    std_io::{self, NonBlocking},
};

use crate::{
    address::Target,
    console::{complain, set_connected},
    runtime::AsyncStream,
    tls::{self, Tls},
    transport::{self, Problem, Stream},
};

/// A broker over TCP.
#[derive(Debug)]
pub(crate) struct Tcp {
    pub(crate) target: Target,
    pub(crate) tls: Option<Tls>,
    /// The last connection ended with a goodbye.
    pub(crate) said_goodbye: bool,
}

/// Why a connection could not be made, or ended.
type TcpFailure = Failure<Problem, std_io::Error>;

impl Tcp {
    fn connect(&self) -> Result<Stream, Problem> {
        let stream = transport::dial(&self.target, self.tls.as_ref())?;
        set_connected(true);
        Ok(stream)
    }

    fn close(&mut self, stream: io::Result<Stream>) {
        set_connected(false);
        self.said_goodbye = true;
        // The goodbye has left; a broker that does not close in time changes nothing.
        drop(stream.and_then(transport::hang_up));
    }
}

impl blocking::Network for Tcp {
    type Transport = NonBlocking<Stream>;
    type Error = Problem;

    fn dial(&mut self) -> Result<Self::Transport, Problem> {
        self.connect().map(NonBlocking::new)
    }

    fn hang_up(&mut self, transport: Self::Transport) {
        self.close(Ok(transport.into_inner()));
    }

    fn failed(&mut self, failure: &TcpFailure) -> bool {
        report(failure)
    }
}

/// Dialling and closing block, each within its time: this thread has nothing else to do meanwhile.
impl asynch::Network for Tcp {
    type Transport = AsyncStream;
    type Error = Problem;

    async fn dial(&mut self) -> Result<Self::Transport, Problem> {
        AsyncStream::new(self.connect()?).map_err(Problem::Runtime)
    }

    async fn hang_up(&mut self, transport: Self::Transport) {
        self.close(transport.into_stream());
    }

    fn failed(&mut self, failure: &TcpFailure) -> bool {
        report(failure)
    }
}

/// Tells what went wrong, and returns whether it may pass.
fn report(failure: &TcpFailure) -> bool {
    set_connected(false);
    let (text, retry) = in_words(failure);
    if retry {
        let seconds = RETRY_MS / 1_000;
        complain(format_args!(
            "{text} Trying again in {seconds} s; Ctrl-C ends the program."
        ));
    } else {
        complain(text);
    }
    retry
}

/// What went wrong and what to do about it, and whether it may pass.
fn in_words(failure: &TcpFailure) -> (String, bool) {
    match failure {
        Failure::Dial(problem) => (problem.to_string(), !problem.is_final()),
        Failure::SubscriptionRefused => (
            "The broker does not allow the subscription. Check what this user may do there, or take another \
             --topic-prefix."
                .to_owned(),
            false,
        ),
        Failure::Client(Error::Closed) => closed(),
        Failure::Client(Error::Transport(std_io::Error(error))) => match tls::reason(error) {
            Some(reason) => (reason.text, !reason.is_final),
            None if is_closed(error) => closed(),
            None => (format!("The connection broke: {error}."), true),
        },
        Failure::Client(Error::Request(error)) => (format!("This cannot be done: {error}."), false),
        Failure::Client(Error::Protocol(ProtocolError::Refused(code))) => refusal(*code),
        Failure::Client(Error::Protocol(error @ (ProtocolError::Decode(_) | ProtocolError::BeforeConnack(_)))) => (
            format!("The connection ended: {error}. Check that a broker for MQTT 3.1.1 is at that port, and whether it needs --tls."),
            true,
        ),
        Failure::Client(error) => (format!("The connection ended: {error}."), true),
    }
}

fn closed() -> (String, bool) {
    let text = "The broker closed the connection. If it does so again at once, check --user, --password and \
                --client-id, and whether the port needs --tls.";
    (text.to_owned(), true)
}

/// Whether the broker did that. TLS wants a goodbye of its own, which a broker that dies cannot say.
fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
    )
}

fn refusal(code: ConnectReturnCode) -> (String, bool) {
    let advice = match code {
        ConnectReturnCode::ServerUnavailable => "Try later",
        ConnectReturnCode::UnacceptableProtocolVersion => "Use a broker for MQTT 3.1.1",
        ConnectReturnCode::IdentifierRejected => "Give another one with --client-id",
        ConnectReturnCode::BadUserNameOrPassword | ConnectReturnCode::NotAuthorized => {
            "Check --user and --password, or the environment variable MQTT_PASSWORD"
        }
    };
    let retry = code == ConnectReturnCode::ServerUnavailable;
    (
        format!("The broker refused the connection: {code}. {advice}."),
        retry,
    )
}
