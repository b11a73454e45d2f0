//! Viewers that make the offer themselves.

use std::{panic::AssertUnwindSafe, time::Instant};

use str0m::{Candidate, IceCreds, change::SdpOffer, config::DtlsCert, media::Mid};

use crate::sdp::{self, Lines, Offered};

/// Answers an offer that wants to receive video, and perhaps sound. `channel` is the name of the data channel that the peer makes.
///
/// # Errors
/// It is not an offer, or it has no line for video that we could send.
pub(crate) fn accept(
    certificate: &DtlsCert,
    credentials: IceCreds,
    local: &[Candidate],
    offer: &str,
    channel: &'static str,
    now: Instant,
) -> Result<Offered, String> {
    if offer.len() > sdp::MAX_SIGNAL {
        return Err(format!("longer than {} bytes", sdp::MAX_SIGNAL));
    }
    // Nobody else may suffer from an offer that str0m does not survive.
    let answered = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let offer = SdpOffer::from_sdp_string(offer).map_err(|error| error.to_string())?;
        let mut rtc = sdp::peer(certificate, credentials, local, now);
        let answer = rtc.sdp_api().accept_offer(offer).map_err(|error| error.to_string())?.to_sdp_string();
        let sends =
            |mid: &Mid| rtc.media(*mid).is_some_and(|media| !media.disabled() && media.direction().is_sending());
        let line = |kind: &str| lines(&answer).filter(|(of, _)| *of == kind).map(|(_, mid)| mid).find(sends);
        let video = line("video").ok_or("it does not ask for video")?;
        Ok((Lines::theirs(line("audio"), video), rtc, answer))
    }));
    let (lines, rtc, sdp) = answered.unwrap_or_else(|_| Err("it cannot be understood".to_owned()))?;
    Ok(Offered { rtc, lines, channel: None, their_channel: Some(channel), pending: None, sdp })
}

/// Kinds and names of the m-lines of a description that str0m has written.
fn lines(sdp: &str) -> impl Iterator<Item = (&str, Mid)> {
    let mut kind = "";
    sdp.lines().filter_map(move |line| {
        if let Some(rest) = line.strip_prefix("m=") {
            kind = rest.split(' ').next().unwrap_or_default();
        }
        line.strip_prefix("a=mid:").map(|name| (kind, Mid::from(name.trim_end())))
    })
}

#[cfg(test)]
mod tests {
    use str0m::{
        Rtc,
        media::{Direction, MediaKind},
    };

    use super::*;

    fn answer(offer: &str) -> Result<Offered, String> {
        let certificate = crate::engine::certificate().unwrap();
        let local = [Candidate::host("127.0.0.1:5000".parse().unwrap(), "udp").unwrap()];
        accept(&certificate, IceCreds::new(), &local, offer, "input", Instant::now())
    }

    fn offer(direction: Option<Direction>) -> String {
        let mut rtc = Rtc::new(Instant::now());
        let mut api = rtc.sdp_api();
        if let Some(direction) = direction {
            api.add_media(MediaKind::Video, direction, None, None, None);
        }
        api.add_channel("input".into());
        api.apply().unwrap().0.to_sdp_string()
    }

    #[test]
    fn the_answer_has_everything_a_browser_needs() {
        let made = answer(&offer(Some(Direction::RecvOnly))).unwrap();
        let has = |wanted: &str| made.sdp.lines().any(|line| line.contains(wanted));
        for wanted in
            ["a=ice-lite", "a=candidate:", "VP8/90000", "a=msid:", "a=sendonly", "a=setup:passive", "m=application"]
        {
            assert!(has(wanted), "{wanted} is missing in\n{}", made.sdp);
        }
        assert_eq!(made.lines.audio, made.lines.video);
        assert_eq!(made.lines.outward(&made.sdp), made.sdp);
    }

    #[test]
    fn what_cannot_be_answered() {
        let good = offer(Some(Direction::RecvOnly));
        for wrong in [
            String::new(),
            "v=0\r\n".into(),
            "\u{0}\u{ffff}m=video".into(),
            "x".repeat(100_000),
            good.replace("a=fingerprint", "a=fingerprinz"),
            good.replace("m=video", "m=voodoo"),
            good.chars().rev().collect(),
            offer(None),
            offer(Some(Direction::SendOnly)),
        ] {
            assert!(answer(&wrong).is_err(), "{}", &wrong[..wrong.len().min(80)]);
        }
    }
}
