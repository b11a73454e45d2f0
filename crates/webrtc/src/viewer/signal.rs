//! Signalling of a viewer: what is negotiated, and the user names that its packets come with.

use str0m::{
    change::{SdpAnswer, SdpOffer},
    media::Direction,
};

use super::{Viewer, World};
use crate::{
    sdp::{self, Formats},
    stun,
};

impl Viewer {
    pub(crate) fn answer(&mut self, sdp: &str, world: &mut World<'_>) -> Result<(), String> {
        let answer = SdpAnswer::from_sdp_string(&self.lines.inward(sdp)).map_err(|error| error.to_string())?;
        let pending = self.pending.take().ok_or("there is no offer to answer")?;
        self.rest(false);
        self.rtc.sdp_api().accept_answer(pending, answer).map_err(|error| error.to_string())?;
        self.name(String::new());
        self.negotiated(world);
        Ok(())
    }

    pub(crate) fn offer(&mut self, sdp: &str, world: &mut World<'_>) -> Result<String, String> {
        if !self.connected {
            return Err("the first offer is the server's".into());
        }
        let offer = SdpOffer::from_sdp_string(&self.lines.inward(sdp)).map_err(|error| error.to_string())?;
        self.rest(false);
        self.pending = None;
        let answer = self.rtc.sdp_api().accept_offer(offer).map_err(|error| error.to_string())?;
        let answer = self.name(answer.to_sdp_string());
        let ufrag = self.rtc.direct_api().local_ice_credentials().ufrag;
        self.add_ufrag(ufrag);
        self.negotiated(world);
        Ok(self.lines.outward(&answer))
    }

    pub(crate) fn restart(&mut self) -> Option<String> {
        self.rest(false);
        let (credentials, offer, pending) = sdp::restart(&mut self.rtc)?;
        self.pending = Some(pending);
        let mut offer = offer.to_sdp_string();
        let mut ufrag = credentials.ufrag;
        if let Some(tag) = &self.tag {
            // They come into force with the answer, and are named then.
            let tagged = stun::tagged(tag, &ufrag);
            offer = offer.replace(&ufrag, &tagged);
            ufrag = tagged;
        }
        self.add_ufrag(ufrag);
        Some(self.lines.outward(&offer))
    }

    /// Adds our tag to a user name that str0m has made up for an ICE restart, also in what is said of it.
    fn name(&mut self, sdp: String) -> String {
        let Some(tag) = &self.tag else { return sdp };
        let mut api = self.rtc.direct_api();
        let mut credentials = api.local_ice_credentials();
        if stun::tag(&credentials.ufrag) == Some(tag) {
            return sdp;
        }
        let tagged = stun::tagged(tag, &credentials.ufrag);
        let sdp = sdp.replace(&credentials.ufrag, &tagged);
        credentials.ufrag = tagged;
        api.set_local_ice_credentials(credentials);
        sdp
    }

    fn add_ufrag(&mut self, ufrag: String) {
        if !self.ufrags.contains(&ufrag) {
            self.ufrags.push(ufrag);
        }
    }

    pub(crate) fn negotiated(&mut self, world: &mut World<'_>) {
        self.formats = Formats::negotiated(&self.rtc, &self.lines);
        self.direction = self.rtc.media(self.lines.video).map_or(Direction::Inactive, |media| media.direction());
        let mut api = self.rtc.direct_api();
        if let Some(stream) = api.stream_tx_by_mid(self.lines.video, None) {
            // Frames are spread here, where a whole frame can still be dropped, and not by str0m.
            stream.set_unpaced(true);
        }
        self.retarget(world);
    }
}
