//! The state of the network connection, and the only way to close it.
//!
//! | state | entered by | left by |
//! | --- | --- | --- |
//! | `Closed` | creation, or [`Link::close`] | [`Link::start`] |
//! | `Connecting` | [`Link::start`]: CONNECT queued | [`Link::accept`] or [`Link::close`] |
//! | `Connected` | [`Link::accept`]: CONNACK received | [`Link::close`] |
//!
//! In each open state, `ending` is set when nothing more is sent: DISCONNECT was sent, the transport failed, or the
//! stream ended. Received data is then handled before [`Link::close`].

use super::error::ProtocolError;
use crate::log::debug;

/// The network connection, and the knowledge of client and server about each other's session.
#[cfg_attr(feature = "fingerprint", derive(Hash))]
pub(super) struct Link {
    /// Clean-up after the last closed connection was done.
    cleaned_up: bool,
    /// DISCONNECT was queued or sent on this connection.
    pub(super) disconnecting: bool,
    /// DISCONNECT was sent on this connection.
    disconnected: bool,
    /// Nothing more is sent. Received data is handled before the connection is closed.
    ending: bool,
    /// Nothing is received any more.
    input_ended: bool,
    /// The Clean Session flag of the last CONNECT.
    pub(super) clean_session: bool,
    /// The server accepted the last connection with Clean Session 0.
    pub(super) server_has_session: bool,
    /// The Session Present flag of the last CONNACK.
    pub(super) session_present: bool,
    /// The server kept a session that this client does not know.
    pub(super) unknown_session: bool,
    /// CONNECT was queued, and its answer was not received.
    awaits_connack: bool,
    /// An earlier CONNECT of this session was sent and not answered.
    connect_unanswered: bool,
    state: State,
    /// Reason of the end of the connection; [`ProtocolError::Closed`] while it is open.
    reason: ProtocolError,
}

#[derive(Clone, Copy)]
#[cfg_attr(feature = "fingerprint", derive(Hash))]
enum State {
    Closed,
    /// CONNECT was queued.
    Connecting,
    /// CONNACK was received.
    Connected,
}

/// The connection is closed. [`Link::close_reason`] returns the reason.
///
/// Internal calls return this marker instead of the reason, which is large.
pub(crate) struct ConnectionClosed;

impl Link {
    pub(super) const fn new() -> Self {
        Self {
            cleaned_up: true,
            disconnecting: false,
            disconnected: false,
            ending: false,
            input_ended: false,
            clean_session: false,
            server_has_session: false,
            session_present: false,
            unknown_session: false,
            awaits_connack: false,
            connect_unanswered: false,
            state: State::Closed,
            reason: ProtocolError::Closed,
        }
    }

    /// Returns `true` if a connection has begun and is not closed.
    pub(super) const fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed)
    }

    /// Returns `true` if CONNACK was received, and packets can be sent.
    pub(super) const fn is_connected(&self) -> bool {
        self.is_accepted() && !self.ending
    }

    /// Returns `true` if CONNACK was received on a connection that is not closed.
    pub(super) const fn is_accepted(&self) -> bool {
        matches!(self.state, State::Connected)
    }

    /// Returns `true` if CONNECT was queued and no CONNACK was received.
    pub(super) const fn is_connecting(&self) -> bool {
        matches!(self.state, State::Connecting)
    }

    /// Returns `true` if packets can be sent, now or after CONNACK.
    pub(super) const fn can_send(&self) -> bool {
        self.is_open() && !self.ending
    }

    /// Returns `true` if a PUBLISH at QoS 1 or 2 may be queued for the next connection, which resumes the session.
    pub(super) const fn can_queue_offline(&self) -> bool {
        !self.can_send() && !self.clean_session
    }

    /// Returns `true` if the connection is closed as soon as the received data was handled.
    pub(super) const fn is_ending(&self) -> bool {
        self.is_open() && self.ending
    }

    /// Returns `true` if nothing more is received on a connection that is not closed.
    pub(super) const fn is_input_ended(&self) -> bool {
        self.is_open() && self.input_ended
    }

    /// Returns `true` if DISCONNECT was sent.
    pub(super) const fn is_disconnected(&self) -> bool {
        self.disconnected
    }

    /// Returns `true` if the connection was closed by anything but our DISCONNECT.
    pub(super) const fn has_failed(&self) -> bool {
        let by_us = self.disconnected && matches!(self.reason, ProtocolError::Closed);
        !self.is_open() && !by_us
    }

    /// Returns `true` if the server refused the connection.
    pub(super) const fn was_refused(&self) -> bool {
        matches!(self.reason, ProtocolError::Refused(_))
    }

    /// Returns `true` if the connection ended without a reason, and not by our DISCONNECT. Call it after the end.
    pub(super) const fn was_closed_silently(&self) -> bool {
        let is_silent = matches!(
            self.reason,
            ProtocolError::Closed
                | ProtocolError::ClosedAtPublish { .. }
                | ProtocolError::ClosedAtSubscribe { .. }
        );
        is_silent && !self.disconnected
    }

    /// Returns the reason why the connection was closed, or [`ProtocolError::Closed`] if it is open.
    pub(super) const fn close_reason(&self) -> ProtocolError {
        self.reason
    }

    /// Returns `true` if a CONNECT with this flag begins a new session.
    ///
    /// The state of a Clean Session 1 connection must not be used again \[MQTT-3.1.2-6\].
    pub(super) const fn begins_new_session(&self, clean_session: bool) -> bool {
        clean_session || self.clean_session
    }

    /// Records that a CONNECT was written, of which no byte was sent.
    pub(super) const fn prepare(&mut self, clean_session: bool) {
        let begins_new = self.begins_new_session(clean_session);
        self.server_has_session &= !begins_new;
        self.connect_unanswered &= !begins_new;
        self.clean_session = clean_session;
        self.session_present = false;
    }

    /// Records that CONNECT was queued.
    pub(super) const fn start(&mut self, clean_session: bool) {
        self.prepare(clean_session);
        self.awaits_connack = true;
        self.unknown_session = false;
        self.disconnecting = false;
        self.disconnected = false;
        self.ending = false;
        self.input_ended = false;
        self.cleaned_up = false;
        self.state = State::Connecting;
        self.reason = ProtocolError::Closed;
    }

    /// Records that CONNACK accepted the connection.
    pub(super) fn accept(&mut self, session_present: bool) {
        debug!("connected, session present: {}", session_present);
        self.unknown_session = session_present && !self.server_has_session;
        self.server_has_session = !self.clean_session;
        self.awaits_connack = false;
        // [MQTT-3.2.2-2] The flag is reported to the caller.
        self.session_present = session_present;
        self.state = State::Connected;
    }

    /// Returns `true` if a CONNECT was sent and not answered: the server may have begun a new session. `is_sent` is
    /// `true` if the present CONNECT was sent.
    pub(super) const fn is_connect_unanswered(&self, is_sent: bool) -> bool {
        self.connect_unanswered || (is_sent && self.awaits_connack && !self.was_refused())
    }

    /// Records that the connection was closed. `is_sent` is `true` if its CONNECT was sent.
    pub(super) const fn end_connect(&mut self, is_sent: bool) {
        self.connect_unanswered = self.is_connect_unanswered(is_sent);
        self.awaits_connack = false;
    }

    /// Returns `true` if an earlier CONNECT was not answered.
    pub(super) const fn has_unanswered_connect(&self) -> bool {
        self.connect_unanswered
    }

    /// Returns `true`, for [`Event::Connected`](super::Event::Connected), if an earlier CONNECT was not answered, and
    /// resets the flag.
    pub(super) const fn take_connect_unanswered(&mut self) -> bool {
        core::mem::replace(&mut self.connect_unanswered, false)
    }

    /// Records that DISCONNECT was sent. Nothing is sent after it \[MQTT-3.14.4-2\].
    pub(super) const fn finish_disconnect(&mut self) {
        self.disconnected = true;
        self.ending = true;
    }

    /// Records that the transport accepts nothing more. It may still deliver received bytes.
    pub(super) const fn end_output(&mut self) {
        self.ending = true;
    }

    /// Records that the transport delivers nothing more. The connection is closed as soon as the received data was
    /// handled.
    pub(super) const fn end_input(&mut self) {
        self.ending = true;
        self.input_ended = true;
    }

    /// Closes the connection for this reason. A closed connection keeps its first reason.
    #[inline(never)] // called for about twenty reasons
    pub(super) fn close(&mut self, reason: ProtocolError) -> ConnectionClosed {
        if self.is_open() {
            match reason {
                ProtocolError::Closed if self.disconnected => {
                    debug!("connection closed after Disconnect");
                }
                ProtocolError::Closed => debug!("connection closed without Disconnect"),
                _ => debug!("connection closed: {}", reason),
            }
            self.state = State::Closed;
            self.reason = reason;
        }
        ConnectionClosed
    }

    /// Closes the connection because the packet of a pending event is invalid.
    ///
    /// If the connection was closed after the packet was received, the new reason replaces the old one.
    #[inline(never)] // called for four reasons
    pub(super) fn reject_event(&mut self, reason: ProtocolError) -> ProtocolError {
        debug!("connection closed: {}", reason);
        self.state = State::Closed;
        self.reason = reason;
        reason
    }

    /// Returns `true` once for each connection that was closed.
    pub(super) const fn take_clean_up(&mut self) -> bool {
        !core::mem::replace(&mut self.cleaned_up, true)
    }

    /// Restores these flags of a saved session.
    pub(super) const fn restore(
        &mut self,
        clean_session: bool,
        server_has_session: bool,
        connect_unanswered: bool,
    ) {
        self.clean_session = clean_session;
        self.server_has_session = server_has_session;
        self.connect_unanswered = connect_unanswered;
        self.session_present = false;
    }
}
