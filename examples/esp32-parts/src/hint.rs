//! A hint for a connection that the server did not accept.

use umqtt::{Ended, client::Error};

/// Returns a hint for the end of a sentence, if the connection ended before the server accepted it. Otherwise, the hint
/// is empty.
pub const fn hint<E>(ended: &Ended<E>) -> &'static str {
    match ended {
        Ended::Lost {
            error: Error::Transport(_) | Error::Closed,
            connected_for: 0,
        } => "; is this a port for TLS?",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hint_connection_without_answer_suggests_tls() {
        let lost = |connected_for, error| Ended::Lost::<()> {
            error,
            connected_for,
        };
        assert!(hint(&lost(0, Error::Closed)).contains("TLS"));
        assert!(hint(&lost(0, Error::Transport(()))).contains("TLS"));
        assert_eq!(hint(&lost(5_000, Error::Closed)), "");
        assert_eq!(hint(&Ended::<()>::Shutdown), "");
    }
}
