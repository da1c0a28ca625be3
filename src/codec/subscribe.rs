//! SUBSCRIBE (section 3.8) and SUBACK (section 3.9).

use core::iter::FusedIterator;

use super::error::{DecodeError, EncodeError, TopicError};
use super::list::{self, Decode, Encode, List};
use super::packet_type::PacketType;
use super::reader::Reader;
use super::topic::TopicFilter;
use super::types::{InvalidReturnCode, PacketId, QoS};
use super::writer::Writer;

/// A client's subscription request (section 3.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Subscribe<'a> {
    packet_id: PacketId,
    filters: List<'a, (TopicFilter<'a>, QoS)>,
}

impl<'a> Subscribe<'a> {
    /// Creates a request for these filters, each with its maximum QoS.
    ///
    /// # Errors
    ///
    /// - [`EncodeError::NoFilters`]: `filters` is empty.
    pub const fn new(
        packet_id: PacketId,
        filters: &'a [(TopicFilter<'a>, QoS)],
    ) -> Result<Self, EncodeError> {
        // [MQTT-3.8.3-3] There is at least one filter.
        if filters.is_empty() {
            return Err(EncodeError::NoFilters);
        }
        Ok(Self {
            packet_id,
            filters: List::Slice(filters),
        })
    }

    /// Returns the packet id, which the SUBACK repeats.
    #[must_use]
    pub const fn packet_id(&self) -> PacketId {
        self.packet_id
    }

    /// Returns the filters, each with its maximum QoS.
    pub fn filters(&self) -> impl Iterator<Item = (TopicFilter<'a>, QoS)> + Clone + use<'a> {
        self.filters.iter()
    }

    /// Decodes the body of a SUBSCRIBE.
    ///
    /// # Errors
    ///
    /// - [`DecodeError::Truncated`]: the body ends inside a field.
    /// - [`DecodeError::PacketIdZero`]: the packet id is 0.
    /// - [`DecodeError::NoFilters`]: there is no filter.
    /// - [`DecodeError::InvalidUtf8`]: a filter is not UTF-8.
    /// - [`DecodeError::TopicFilter`]: a filter is invalid.
    /// - [`DecodeError::InvalidRequestedQos`]: a QoS is not 0, 1 or 2.
    pub fn decode_body(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        // [MQTT-3.8.3-3] There is at least one filter.
        let filters = List::decode(reader, DecodeError::NoFilters)?;
        Ok(Self { packet_id, filters })
    }

    /// Returns the length of the whole packet, in bytes.
    ///
    /// # Errors
    ///
    /// - [`EncodeError::PacketTooLong`]: the packet exceeds the largest Remaining Length.
    pub fn encoded_len(&self) -> Result<usize, EncodeError> {
        self.filters.encoded_len(PacketType::Subscribe)
    }

    /// Writes the packet to the start of `out`. Returns the written bytes.
    ///
    /// # Errors
    ///
    /// - [`EncodeError::PacketTooLong`]: the packet exceeds the largest Remaining Length.
    /// - [`EncodeError::BufferTooSmall`]: `out` is shorter than the packet. It is unchanged.
    pub fn encode<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], EncodeError> {
        self.filters
            .encode(PacketType::Subscribe, self.packet_id, out)
    }
}

/// Checks filters and encodes a SUBSCRIBE. Returns its length, in bytes.
pub(crate) fn encode<'s>(
    packet_id: PacketId,
    filters: impl Iterator<Item = (&'s str, QoS)> + Clone,
    out: &mut [u8],
) -> Result<usize, EncodeError> {
    list::encode(PacketType::Subscribe, packet_id, filters, out).map(<[u8]>::len)
}

impl<'a> Decode<'a> for (TopicFilter<'a>, QoS) {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let filter = Decode::decode(reader)?;
        // [MQTT-3.8.3-4] The reserved bits of the byte must also be 0.
        let value = reader.u8()?;
        match QoS::try_from(value) {
            Ok(qos) => Ok((filter, qos)),
            Err(_) => Err(DecodeError::InvalidRequestedQos { value }),
        }
    }
}

/// The server's answer to a SUBSCRIBE (section 3.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Suback<'a> {
    packet_id: PacketId,
    codes: SubackCodes<'a>,
}

impl<'a> Suback<'a> {
    /// Creates an answer with these return codes, one for each filter, in the order of the filters.
    ///
    /// # Errors
    ///
    /// - [`EncodeError::NoReturnCodes`]: `codes` is empty.
    pub const fn new(
        packet_id: PacketId,
        codes: &'a [SubackReturnCode],
    ) -> Result<Self, EncodeError> {
        if codes.is_empty() {
            return Err(EncodeError::NoReturnCodes);
        }
        Ok(Self {
            packet_id,
            codes: SubackCodes(List::Slice(codes)),
        })
    }

    /// Returns the packet id of the SUBSCRIBE.
    #[must_use]
    pub const fn packet_id(&self) -> PacketId {
        self.packet_id
    }

    /// Returns the return codes, one for each filter, in the order of the filters.
    pub const fn codes(&self) -> SubackCodes<'a> {
        self.codes
    }

    /// Decodes the body of a SUBACK.
    ///
    /// # Errors
    ///
    /// - [`DecodeError::Truncated`]: there is no packet id or no return code.
    /// - [`DecodeError::PacketIdZero`]: the packet id is 0.
    /// - [`DecodeError::UnknownSubackReturnCode`]: a return code is reserved.
    pub fn decode_body(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let codes = List::decode(reader, DecodeError::Truncated)?;
        Ok(Self {
            packet_id,
            codes: SubackCodes(codes),
        })
    }

    /// Returns the length of the whole packet, in bytes.
    ///
    /// # Errors
    ///
    /// - [`EncodeError::PacketTooLong`]: the packet exceeds the largest Remaining Length.
    pub fn encoded_len(&self) -> Result<usize, EncodeError> {
        self.codes.0.encoded_len(PacketType::Suback)
    }

    /// Writes the packet to the start of `out`. Returns the written bytes.
    ///
    /// # Errors
    ///
    /// - [`EncodeError::PacketTooLong`]: the packet exceeds the largest Remaining Length.
    /// - [`EncodeError::BufferTooSmall`]: `out` is shorter than the packet. It is unchanged.
    pub fn encode<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], EncodeError> {
        self.codes.0.encode(PacketType::Suback, self.packet_id, out)
    }
}

/// The return codes of a SUBACK, at least one.
///
/// A server may refuse some filters and accept others, so a SUBACK alone does not mean success.
///
/// ```
/// use umqtt::codec::{PacketId, QoS, Suback, SubackReturnCode};
///
/// let codes = [SubackReturnCode::Granted(QoS::AtLeastOnce), SubackReturnCode::Failure];
/// let codes = Suback::new(PacketId::MIN, &codes)?.codes();
/// assert!(!codes.all_granted());
/// for (filter, code) in ["led/#", "admin/#"].iter().zip(codes) {
///     match code {
///         SubackReturnCode::Granted(qos) => println!("{filter}: {qos:?}"),
///         SubackReturnCode::Failure => println!("{filter}: refused"),
///     }
/// }
/// # Ok::<(), umqtt::codec::EncodeError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use = "the server may have refused a filter"]
pub struct SubackCodes<'a>(List<'a, SubackReturnCode>);

impl<'a> SubackCodes<'a> {
    /// Returns the number of return codes.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self.0 {
            List::Wire(bytes) => bytes.len(),
            List::Slice(codes) => codes.len(),
        }
    }

    /// Returns `false`: a SUBACK has at least one return code.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the code of the first filter. It is never `None`.
    #[must_use]
    pub fn first(&self) -> Option<SubackReturnCode> {
        self.iter().next()
    }

    /// Returns `true` if the server accepted all subscriptions. The granted QoS may be lower than the requested one.
    #[must_use]
    pub fn all_granted(&self) -> bool {
        self.iter().all(|code| code != SubackReturnCode::Failure)
    }

    /// Returns the return codes, in the order of the filters.
    pub const fn iter(&self) -> SubackCodesIter<'a> {
        SubackCodesIter(*self)
    }
}

impl<'a> IntoIterator for SubackCodes<'a> {
    type Item = SubackReturnCode;
    type IntoIter = SubackCodesIter<'a>;

    fn into_iter(self) -> SubackCodesIter<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for &SubackCodes<'a> {
    type Item = SubackReturnCode;
    type IntoIter = SubackCodesIter<'a>;

    fn into_iter(self) -> SubackCodesIter<'a> {
        self.iter()
    }
}

/// An iterator over the return codes of a SUBACK.
#[derive(Debug, Clone)]
#[must_use]
pub struct SubackCodesIter<'a>(SubackCodes<'a>);

impl Iterator for SubackCodesIter<'_> {
    type Item = SubackReturnCode;

    fn next(&mut self) -> Option<SubackReturnCode> {
        self.0.0.take_first()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.0.len();
        (len, Some(len))
    }
}

impl ExactSizeIterator for SubackCodesIter<'_> {}

impl FusedIterator for SubackCodesIter<'_> {}

/// The server's answer to one filter of a SUBSCRIBE (section 3.9.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SubackReturnCode {
    /// The server accepted the subscription, with at most this QoS.
    Granted(QoS),
    /// The server refused the subscription.
    Failure,
}

/// The return code for [`SubackReturnCode::Failure`].
const FAILURE: u8 = 0x80;

impl From<SubackReturnCode> for u8 {
    fn from(code: SubackReturnCode) -> Self {
        match code {
            SubackReturnCode::Granted(qos) => qos.bits(),
            SubackReturnCode::Failure => FAILURE,
        }
    }
}

impl TryFrom<u8> for SubackReturnCode {
    type Error = InvalidReturnCode;

    fn try_from(code: u8) -> Result<Self, InvalidReturnCode> {
        match code {
            FAILURE => Ok(Self::Failure),
            code => match QoS::try_from(code) {
                Ok(qos) => Ok(Self::Granted(qos)),
                // [MQTT-3.9.3-2] Other codes are reserved.
                Err(_) => Err(InvalidReturnCode { code }),
            },
        }
    }
}

impl Decode<'_> for SubackReturnCode {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let unknown = |InvalidReturnCode { code }| DecodeError::UnknownSubackReturnCode { code };
        Self::try_from(reader.u8()?).map_err(unknown)
    }
}

impl Encode for SubackReturnCode {
    fn encoded_len(&self) -> Result<usize, TopicError> {
        Ok(1)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.u8((*self).into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn return_codes_convert_from_and_to_numbers() {
        for code in 0..=u8::MAX {
            let is_valid = matches!(code, 0..=2 | 0x80);
            match SubackReturnCode::try_from(code) {
                Ok(valid) => assert!(is_valid && u8::from(valid) == code),
                Err(error) => assert!(!is_valid && error == InvalidReturnCode { code }),
            }
        }
    }

    #[test]
    fn codes_iterate_and_report_refusals() {
        use SubackReturnCode::{Failure, Granted};
        let all = [Granted(QoS::AtMostOnce), Granted(QoS::ExactlyOnce)];
        let some = [Failure, Granted(QoS::AtLeastOnce), Failure];
        let mut out = [0; 16];
        for codes in [&all[..], &some] {
            let sent = Suback::new(PacketId::MIN, codes).unwrap();
            let bytes = sent.encode(&mut out).unwrap();
            let received = Suback::decode_body(&bytes[2..]).unwrap();
            for suback in [sent, received] {
                assert!(suback.codes().iter().eq(codes.iter().copied()));
                assert!(suback.codes().into_iter().eq(&suback.codes()));
                assert_eq!(suback.codes().all_granted(), codes == all);
                assert_eq!(suback.codes().len(), codes.len());
                let mut iter = suback.codes().iter();
                for left in (0..codes.len()).rev() {
                    assert!(iter.next().is_some());
                    assert_eq!(iter.len(), left);
                }
                assert_eq!(iter.next(), None);
            }
        }
    }

    #[test]
    fn encode_checks_filters() {
        let mut out = [0; 16];
        let id = PacketId::MIN;
        let filters = [("a/#", QoS::AtLeastOnce), ("b", QoS::AtMostOnce)];
        assert_eq!(encode(id, filters.into_iter(), &mut out), Ok(14));
        assert_eq!(&out[..14], b"\x82\x0C\0\x01\0\x03a/#\x01\0\x01b\0");
        let filters = [("b", QoS::AtMostOnce), ("#/a", QoS::AtMostOnce)];
        let error = EncodeError::Filter {
            number: 2,
            error: TopicError::Wildcard { at: 0 },
        };
        assert_eq!(encode(id, filters.into_iter(), &mut out), Err(error));
        let none = [].into_iter();
        assert_eq!(encode(id, none, &mut out), Err(EncodeError::NoFilters));
    }
}
