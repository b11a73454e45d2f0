//! Cuts one encoded frame into RTP payloads, once for all viewers.

use std::sync::Arc;

use glasshouse_media::{Rendition, VideoCodec, VideoFrame};

/// Largest RTP payload in bytes: with IP, UDP, SRTP, header extensions and the RTX number it stays below 1,200 bytes of
/// UDP payload, which passes every path that carries QUIC.
const MAX_PAYLOAD: usize = 1120;

/// One frame as RTP payloads, shared by all viewers and their retransmission caches.
#[derive(Debug)]
pub(crate) struct Packets {
    pub(crate) rendition: Rendition,
    pub(crate) key: bool,
    pub(crate) captured_at: std::time::Instant,
    pub(crate) payloads: Vec<Arc<[u8]>>,
    pub(crate) bytes: usize,
}

impl Packets {
    /// `None` when the frame holds no data to send.
    pub(crate) fn new(frame: &VideoFrame) -> Option<Self> {
        let payloads = match frame.rendition.codec {
            VideoCodec::Vp8 => vp8(&frame.data),
            VideoCodec::Vp9 => vp9(&frame.data, frame.key),
            VideoCodec::H264 => h264(&frame.data),
        };
        if payloads.is_empty() {
            return None;
        }
        let bytes = payloads.iter().map(|payload| payload.len()).sum();
        Some(Self { rendition: frame.rendition, key: frame.key, captured_at: frame.captured_at, payloads, bytes })
    }
}

/// Splits into pieces of one size but the last, which is what UDP segmentation offload wants to see.
fn even(data: &[u8], limit: usize) -> std::slice::Chunks<'_, u8> {
    let pieces = data.len().div_ceil(limit).max(1);
    data.chunks(data.len().div_ceil(pieces).max(1))
}

fn payload(header: &[u8], data: &[u8]) -> Arc<[u8]> {
    let mut bytes = Vec::with_capacity(header.len() + data.len());
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(data);
    bytes.into()
}

/// RFC 7741 with the one-byte descriptor: without a picture id, receivers order frames by sequence number, so that a
/// viewer may join or change renditions anywhere.
fn vp8(data: &[u8]) -> Vec<Arc<[u8]>> {
    const START: u8 = 0x10;
    let pieces = even(data, MAX_PAYLOAD - 1);
    pieces.enumerate().map(|(index, piece)| payload(&[if index == 0 { START } else { 0 }], piece)).collect()
}

/// RFC 9628 with the one-byte descriptor: not flexible, one layer, no picture id (see [`vp8`]).
fn vp9(data: &[u8], key: bool) -> Vec<Arc<[u8]>> {
    const INTER: u8 = 0x40;
    const BEGIN: u8 = 0x08;
    const END: u8 = 0x04;
    let pieces = even(data, MAX_PAYLOAD - 1);
    let last = pieces.len().saturating_sub(1);
    pieces
        .enumerate()
        .map(|(index, piece)| {
            let mut flags = if key { 0 } else { INTER };
            if index == 0 {
                flags |= BEGIN;
            }
            if index == last {
                flags |= END;
            }
            payload(&[flags], piece)
        })
        .collect()
}

/// RFC 6184, packetization mode 1: single NAL units and FU-A; parameter sets travel with the key frame as STAP-A.
fn h264(data: &[u8]) -> Vec<Arc<[u8]>> {
    const SPS: u8 = 7;
    const PPS: u8 = 8;
    const DELIMITER: u8 = 9;
    const STAP_A: u8 = 24;
    const FU_A: u8 = 28;
    let mut payloads = Vec::new();
    let mut parameters: Vec<u8> = Vec::new();
    let flush = |parameters: &mut Vec<u8>, payloads: &mut Vec<Arc<[u8]>>| {
        if !parameters.is_empty() {
            payloads.push(payload(&[0x60 | STAP_A], parameters));
            parameters.clear();
        }
    };
    for unit in annex_b(data) {
        let kind = unit[0] & 0x1f;
        match kind {
            DELIMITER => continue,
            SPS | PPS if unit.len() + parameters.len() + 3 <= MAX_PAYLOAD => {
                // The comparison above keeps the length within 16 bits.
                parameters.extend_from_slice(&(unit.len() as u16).to_be_bytes());
                parameters.extend_from_slice(unit);
                continue;
            }
            _ => flush(&mut parameters, &mut payloads),
        }
        if unit.len() <= MAX_PAYLOAD {
            payloads.push(unit.into());
            continue;
        }
        let indicator = unit[0] & 0xe0 | FU_A;
        let pieces = even(&unit[1..], MAX_PAYLOAD - 2);
        let last = pieces.len() - 1;
        for (index, piece) in pieces.enumerate() {
            let start = if index == 0 { 0x80 } else { 0 };
            let end = if index == last { 0x40 } else { 0 };
            payloads.push(payload(&[indicator, start | end | kind], piece));
        }
    }
    flush(&mut parameters, &mut payloads);
    payloads
}

/// The NAL units of an Annex B byte stream, without start codes and trailing zeros.
fn annex_b(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(data).map(|(_, rest)| rest);
    std::iter::from_fn(move || {
        let current = rest?;
        let (unit, next) = match after_start_code(current) {
            Some((unit, next)) => (unit, Some(next)),
            None => (current, None),
        };
        rest = next;
        let end = unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Some(&unit[..end])
    })
    .filter(|unit| !unit.is_empty())
}

/// Splits around the first start code `00 00 01`.
fn after_start_code(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut from = 0;
    loop {
        // A start code ends in 1; looking for that byte skips most of the stream quickly.
        let one = from + data.get(from..)?.iter().position(|byte| *byte == 1)?;
        if one >= 2 && data[one - 1] == 0 && data[one - 2] == 0 {
            return Some((&data[..one - 2], &data[one + 1..]));
        }
        from = one + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vp8_pieces_are_even_and_complete() {
        let data: Vec<u8> = (0..10_000u32).map(|n| n as u8).collect();
        let payloads = vp8(&data);
        assert_eq!(payloads[0][0], 0x10);
        assert!(payloads[1..].iter().all(|p| p[0] == 0));
        assert!(payloads.iter().all(|p| p.len() <= MAX_PAYLOAD));
        assert!(payloads.windows(2).rev().skip(1).all(|p| p[0].len() == p[1].len()));
        let joined: Vec<u8> = payloads.iter().flat_map(|p| p[1..].to_vec()).collect();
        assert_eq!(joined, data);
    }

    #[test]
    fn vp9_marks_begin_end_and_inter() {
        let data = vec![3; 2000];
        let flags = |key| vp9(&data, key).iter().map(|p| p[0]).collect::<Vec<_>>();
        assert_eq!(flags(true), [0x08, 0x04]);
        assert_eq!(flags(false), [0x48, 0x44]);
        assert_eq!(vp9(&[1], true)[0][0], 0x0c);
    }

    #[test]
    fn h264_units_become_stap_single_and_fragments() {
        let mut stream = vec![0, 0, 0, 1, 0x67, 1, 2, 3, 0, 0, 0, 1, 0x68, 4, 0, 0, 1, 0x06, 5, 0, 0, 1, 0x65];
        let slice: Vec<u8> = (0..5000u32).map(|n| (n % 251) as u8 | 2).collect();
        stream.extend(&slice);
        let payloads = h264(&stream);
        assert_eq!(&payloads[0][..], [0x78, 0, 4, 0x67, 1, 2, 3, 0, 2, 0x68, 4]);
        assert_eq!(&payloads[1][..], [0x06, 5]);
        assert_eq!(payloads[2][..2], [0x7c, 0x85]);
        assert_eq!(payloads.last().unwrap()[..2], [0x7c, 0x45]);
        let joined: Vec<u8> = payloads[2..].iter().flat_map(|p| p[2..].to_vec()).collect();
        assert_eq!(joined, slice);
    }

    #[test]
    fn h264_without_start_code_is_empty() {
        assert!(h264(&[1, 2, 3, 0, 0]).is_empty());
        assert!(h264(&[]).is_empty());
        assert!(h264(&[0, 0, 1]).is_empty());
    }
}
