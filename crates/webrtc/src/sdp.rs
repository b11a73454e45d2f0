//! What we offer: codecs, header extensions, and the names of the m-lines.

use std::{borrow::Cow, time::Instant};

use glasshouse_media::VideoCodec;
use str0m::{
    Candidate, IceCreds, Rtc, RtcConfig,
    bwe::Bitrate,
    change::{SdpOffer, SdpPendingOffer},
    channel::ChannelId,
    config::DtlsCert,
    format::{Codec, FormatParams},
    media::{Direction, Frequency, MediaKind, Mid, Pt},
    net::TcpType,
    rtp::{Extension, ExtensionMap},
};

use crate::addresses::Announced;

/// Longest SDP or candidate taken from a peer, in bytes; a browser's answer has about 5 KB.
pub(crate) const MAX_SIGNAL: usize = 64 << 10;
/// Estimate before the first measurement, in bit/s; probes at three and six times this follow at once.
pub(crate) const FIRST_ESTIMATE: u64 = 3_000_000;
/// Largest data channel message in either direction, in bytes.
pub(crate) const MAX_MESSAGE: usize = 64 << 10;
/// Data channel bytes that may wait for one viewer.
const MAX_MESSAGE_BACKLOG: usize = 1 << 20;
/// Packets kept for retransmission: five key frames of a full page of text.
pub(crate) const RETRANSMIT_PACKETS: usize = 2048;

/// Names of our m-lines in the offer, by position; neko's clients expect these.
const NAMES: [&str; 3] = ["0", "1", "2"];

/// The m-lines as str0m names them: sound, video, data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lines {
    pub(crate) audio: Mid,
    pub(crate) video: Mid,
    data: Option<Mid>,
    /// The peer has made the lines, and their names are its own.
    pub(crate) is_theirs: bool,
}

impl Lines {
    fn pairs(&self) -> [(Option<Mid>, &'static str); 3] {
        [(Some(self.audio), NAMES[0]), (Some(self.video), NAMES[1]), (self.data, NAMES[2])]
    }

    /// str0m invents names of m-lines; the wire carries ours. The MID header extension is not negotiated, so that the
    /// names occur in SDP only.
    pub(crate) fn outward(&self, sdp: &str) -> String {
        if self.is_theirs {
            return sdp.to_owned();
        }
        let pairs = self.pairs();
        rename(sdp, |name| {
            let found = pairs.iter().find(|(mid, _)| mid.is_some_and(|mid| *mid == *name));
            found.map_or(Cow::Borrowed(name), |(_, ours)| Cow::Borrowed(*ours))
        })
    }

    /// The opposite of [`Lines::outward`].
    pub(crate) fn inward(&self, sdp: &str) -> String {
        if self.is_theirs {
            return sdp.to_owned();
        }
        let pairs = self.pairs();
        rename(sdp, |name| {
            let found = pairs.iter().find(|(_, ours)| *ours == name).and_then(|(mid, _)| *mid);
            found.map_or(Cow::Borrowed(name), |mid| Cow::Owned(mid.to_string()))
        })
    }
}

fn rename<'a>(sdp: &'a str, map: impl Fn(&'a str) -> Cow<'a, str>) -> String {
    let mut renamed = String::with_capacity(sdp.len() + 16);
    for line in sdp.lines() {
        if let Some(name) = line.strip_prefix("a=mid:") {
            renamed.push_str("a=mid:");
            renamed.push_str(&map(name.trim_end()));
        } else if let Some(names) = line.strip_prefix("a=group:BUNDLE") {
            renamed.push_str("a=group:BUNDLE");
            for name in names.split_ascii_whitespace() {
                renamed.push(' ');
                renamed.push_str(&map(name));
            }
        } else {
            renamed.push_str(line);
        }
        renamed.push_str("\r\n");
    }
    renamed
}

/// A new peer connection of ours with its first offer.
pub(crate) struct Offered {
    pub(crate) rtc: Rtc,
    pub(crate) lines: Lines,
    pub(crate) channel: Option<ChannelId>,
    /// Name of the channel that the peer makes instead.
    pub(crate) their_channel: Option<&'static str>,
    pub(crate) pending: Option<SdpPendingOffer>,
    pub(crate) sdp: String,
}

impl Lines {
    /// Lines that the peer has made. Sound may have none, and is then taken to be on the picture's, which has no format for it.
    pub(crate) fn theirs(audio: Option<Mid>, video: Mid) -> Self {
        Self { audio: audio.unwrap_or(video), video, data: None, is_theirs: true }
    }
}

/// A peer connection without lines.
pub(crate) fn peer(certificate: &DtlsCert, credentials: IceCreds, local: &[Candidate], now: Instant) -> Rtc {
    let mut config = RtcConfig::new()
        .set_ice_lite(true)
        .set_local_ice_credentials(credentials)
        .set_dtls_cert(certificate.clone())
        .set_rtp_mode(true)
        .set_extension_map(extensions())
        .set_stats_interval(Some(std::time::Duration::from_secs(1)))
        .enable_bwe(Some(Bitrate::from(FIRST_ESTIMATE)))
        .set_send_buffer_video(RETRANSMIT_PACKETS)
        .set_sctp_max_message_size(MAX_MESSAGE as u32)
        .set_sctp_max_buffered_amount(MAX_MESSAGE_BACKLOG)
        .clear_codecs();
    codecs(&mut config);
    let mut rtc = config.build(now);
    for candidate in local {
        rtc.add_local_candidate(candidate.clone());
    }
    rtc
}

pub(crate) fn offer(
    certificate: &DtlsCert,
    credentials: IceCreds,
    local: &[Candidate],
    now: Instant,
) -> Option<Offered> {
    let mut rtc = peer(certificate, credentials, local, now);
    let mut api = rtc.sdp_api();
    let stream = || Some("stream".to_owned());
    let audio = api.add_media(MediaKind::Audio, Direction::SendOnly, stream(), Some("audio".into()), None);
    let video = api.add_media(MediaKind::Video, Direction::SendOnly, stream(), Some("video".into()), None);
    let channel = api.add_channel("data".into());
    let (offer, pending) = api.apply()?;
    let mut lines = Lines { audio, video, data: None, is_theirs: false };
    let sdp = offer.to_sdp_string();
    lines.data =
        sdp.lines().filter_map(|line| line.strip_prefix("a=mid:")).nth(2).map(|name| Mid::from(name.trim_end()));
    let sdp = lines.outward(&sdp);
    Some(Offered { rtc, lines, channel: Some(channel), their_channel: None, pending: Some(pending), sdp })
}

/// An offer of `rtc` with new ICE credentials.
pub(crate) fn restart(rtc: &mut Rtc) -> Option<(IceCreds, SdpOffer, SdpPendingOffer)> {
    let mut api = rtc.sdp_api();
    let credentials = api.ice_restart(true);
    let (offer, pending) = api.apply()?;
    Some((credentials, offer, pending))
}

fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::empty();
    map.set(2, Extension::AbsoluteSendTime);
    map.set(3, Extension::TransportSequenceNumber);
    map.set(5, Extension::PlayoutDelay);
    map
}

/// The formats of neko (`wire/neko.md` §8.1), with retransmission for video.
fn codecs(config: &mut RtcConfig) {
    let codecs = config.codec_config();
    let opus = FormatParams { use_inband_fec: Some(true), stereo: Some(true), ..FormatParams::default() };
    codecs.add_config(Pt::from(111), None, Codec::Opus, Frequency::FORTY_EIGHT_KHZ, Some(2), opus);
    // Else str0m would probe and pad on the sound's line as soon as the picture rests.
    codecs.iter_mut().for_each(|params| params.set_fb_transport_cc(false));
    codecs.add_config(
        Pt::from(96),
        Some(Pt::from(97)),
        Codec::Vp8,
        Frequency::NINETY_KHZ,
        None,
        FormatParams::default(),
    );
    let vp9 = FormatParams { profile_id: Some(0), ..FormatParams::default() };
    codecs.add_config(Pt::from(98), Some(Pt::from(99)), Codec::Vp9, Frequency::NINETY_KHZ, None, vp9);
    codecs.add_h264(Pt::from(102), Some(Pt::from(103)), true, 0x42e01f);
}

/// Payload types that the peer takes.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Formats {
    vp8: Option<Pt>,
    vp9: Option<Pt>,
    h264: Option<Pt>,
    pub(crate) opus: Option<Pt>,
}

impl Formats {
    /// What the last negotiation left, empty for m-lines that the peer refused.
    pub(crate) fn negotiated(rtc: &Rtc, lines: &Lines) -> Self {
        let mut formats = Self::default();
        for mid in [lines.audio, lines.video] {
            let Some(media) = rtc.media(mid).filter(|media| !media.disabled()) else { continue };
            for params in rtc.codec_config().params() {
                if !media.remote_pts().contains(&params.pt()) {
                    continue;
                }
                let place = match params.spec().codec {
                    Codec::Vp8 => &mut formats.vp8,
                    Codec::Vp9 => &mut formats.vp9,
                    Codec::H264 => &mut formats.h264,
                    Codec::Opus => &mut formats.opus,
                    _ => continue,
                };
                place.get_or_insert(params.pt());
            }
        }
        formats
    }

    pub(crate) fn video(&self, codec: VideoCodec) -> Option<Pt> {
        match codec {
            VideoCodec::Vp8 => self.vp8,
            VideoCodec::Vp9 => self.vp9,
            VideoCodec::H264 => self.h264,
        }
    }

    /// The wanted codec, else the preferred one, else any that the peer takes.
    pub(crate) fn choose(&self, wanted: Option<VideoCodec>, preferred: VideoCodec) -> Option<VideoCodec> {
        let order = [wanted.unwrap_or(preferred), preferred, VideoCodec::Vp8, VideoCodec::H264, VideoCodec::Vp9];
        order.into_iter().find(|codec| self.video(*codec).is_some())
    }
}

/// Our host candidates.
pub(crate) fn candidates(announced: &[Announced]) -> Vec<Candidate> {
    let made = announced.iter().filter_map(|announced| {
        let candidate = if announced.tcp {
            Candidate::builder().tcp().host(announced.address).tcptype(TcpType::Passive).build()
        } else {
            Candidate::host(announced.address, "udp")
        };
        candidate.ok()
    });
    made.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offer_has_nekos_layout() {
        let certificate = crate::engine::certificate().unwrap();
        let local = candidates(&[
            Announced { address: "127.0.0.1:5000".parse().unwrap(), tcp: false },
            Announced { address: "127.0.0.1:5001".parse().unwrap(), tcp: true },
        ]);
        let offered = offer(&certificate, IceCreds::new(), &local, Instant::now()).unwrap();
        let sdp = &offered.sdp;
        let lines = |prefix: &str| sdp.lines().filter(|line| line.starts_with(prefix)).collect::<Vec<_>>();
        assert_eq!(lines("a=mid:"), ["a=mid:0", "a=mid:1", "a=mid:2"]);
        assert_eq!(lines("a=group:BUNDLE"), ["a=group:BUNDLE 0 1 2"]);
        let kinds: Vec<_> = lines("m=").iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
        assert_eq!(kinds, ["m=audio", "m=video", "m=application"]);
        for wanted in [
            "a=ice-lite",
            "a=rtpmap:111 opus/48000/2",
            "a=rtpmap:96 VP8/90000",
            "a=rtpmap:98 VP9/90000",
            "a=rtpmap:102 H264/90000",
            "a=fmtp:97 apt=96",
            "a=rtcp-fb:96 nack pli",
            "a=rtcp-fb:96 ccm fir",
            "a=rtcp-fb:96 transport-cc",
            "a=setup:actpass",
        ] {
            assert!(sdp.lines().any(|line| line == wanted), "{wanted} missing in\n{sdp}");
        }
        assert!(sdp.contains("playout-delay") && !sdp.contains("sdes:mid"), "{sdp}");
        assert!(sdp.contains("typ host tcptype passive"), "{sdp}");
        assert!(sdp.contains("profile-level-id=42e01f"), "{sdp}");
        assert!(sdp.contains("stereo=1") && sdp.contains("useinbandfec=1"), "{sdp}");
        let back = offered.lines.inward(sdp);
        assert_eq!(offered.lines.outward(&back), *sdp);
        assert!(back.contains(&format!("a=mid:{}", offered.lines.video)));
    }
}
