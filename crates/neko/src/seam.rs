//! What the room needs of the desktop and of the WebRTC engine, so that tests can record it instead.

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use glasshouse_desktop::ProgramState;
use glasshouse_desktop::{Cursor, Desktop, Error as DesktopError, Input, KeyboardMap, KeyboardModifiers, Size};
use glasshouse_webrtc::{
    ConnectOptions, DelayHistogram, Engine, Error as EngineError, Offer, VideoChoice, ViewerId, ViewerStats,
};

/// A future that a trait object can return.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The desktop as the room sees it; see [`Desktop`] for the meaning of each call.
#[allow(missing_docs)]
pub trait Desk: Send + Sync + 'static {
    fn input(&self, input: Input);
    fn size(&self) -> Size;
    fn sizes(&self) -> Vec<Size>;
    fn resize(&self, size: Size, scale_percent: u16) -> Pending<'_, Result<Size, DesktopError>>;
    fn screenshot_jpeg(&self, quality: u8) -> Pending<'_, Result<Vec<u8>, DesktopError>>;
    fn cursor(&self) -> Option<Arc<Cursor>>;
    fn clipboard_text(&self) -> Pending<'_, Result<String, DesktopError>>;
    fn clipboard_html(&self) -> Pending<'_, Result<String, DesktopError>>;
    fn clipboard_png(&self) -> Pending<'_, Result<Option<Vec<u8>>, DesktopError>>;
    fn set_clipboard(&self, text: Option<String>, html: Option<String>) -> Pending<'_, Result<(), DesktopError>>;
    fn keyboard_map(&self) -> Pending<'_, Result<KeyboardMap, DesktopError>>;
    fn set_keyboard_map(&self, map: KeyboardMap) -> Pending<'_, Result<(), DesktopError>>;
    fn keyboard_modifiers(&self) -> Pending<'_, Result<KeyboardModifiers, DesktopError>>;
    fn set_keyboard_modifiers(&self, modifiers: KeyboardModifiers) -> Pending<'_, Result<(), DesktopError>>;
    fn programs(&self) -> Vec<(&'static str, ProgramState, String)>;
    fn has_sound(&self) -> bool;
    fn freeze(&self) -> Pending<'_, Result<(), DesktopError>>;
    fn thaw(&self) -> Pending<'_, Result<(), DesktopError>>;
    fn wake(&self);
    fn is_asleep(&self) -> bool;
}

impl Desk for Desktop {
    fn input(&self, input: Input) {
        Self::input(self, input);
    }
    fn size(&self) -> Size {
        Self::size(self)
    }
    fn sizes(&self) -> Vec<Size> {
        Self::sizes(self)
    }
    fn resize(&self, size: Size, scale_percent: u16) -> Pending<'_, Result<Size, DesktopError>> {
        Box::pin(Self::resize(self, size, scale_percent))
    }
    fn screenshot_jpeg(&self, quality: u8) -> Pending<'_, Result<Vec<u8>, DesktopError>> {
        Box::pin(Self::screenshot_jpeg(self, quality))
    }
    fn cursor(&self) -> Option<Arc<Cursor>> {
        Self::cursor(self)
    }
    fn clipboard_text(&self) -> Pending<'_, Result<String, DesktopError>> {
        Box::pin(Self::clipboard_text(self))
    }
    fn clipboard_html(&self) -> Pending<'_, Result<String, DesktopError>> {
        Box::pin(Self::clipboard_html(self))
    }
    fn clipboard_png(&self) -> Pending<'_, Result<Option<Vec<u8>>, DesktopError>> {
        Box::pin(Self::clipboard_png(self))
    }
    fn set_clipboard(&self, text: Option<String>, html: Option<String>) -> Pending<'_, Result<(), DesktopError>> {
        Box::pin(Self::set_clipboard(self, text, html))
    }
    fn keyboard_map(&self) -> Pending<'_, Result<KeyboardMap, DesktopError>> {
        Box::pin(Self::keyboard_map(self))
    }
    fn set_keyboard_map(&self, map: KeyboardMap) -> Pending<'_, Result<(), DesktopError>> {
        Box::pin(Self::set_keyboard_map(self, map))
    }
    fn keyboard_modifiers(&self) -> Pending<'_, Result<KeyboardModifiers, DesktopError>> {
        Box::pin(Self::keyboard_modifiers(self))
    }
    fn set_keyboard_modifiers(&self, modifiers: KeyboardModifiers) -> Pending<'_, Result<(), DesktopError>> {
        Box::pin(Self::set_keyboard_modifiers(self, modifiers))
    }
    fn programs(&self) -> Vec<(&'static str, ProgramState, String)> {
        Self::programs(self)
    }
    fn has_sound(&self) -> bool {
        self.sound_fifo().is_some()
    }
    fn freeze(&self) -> Pending<'_, Result<(), DesktopError>> {
        Box::pin(Self::freeze(self))
    }
    fn thaw(&self) -> Pending<'_, Result<(), DesktopError>> {
        Box::pin(Self::thaw(self))
    }
    fn wake(&self) {
        Self::wake(self);
    }
    fn is_asleep(&self) -> bool {
        Self::is_asleep(self)
    }
}

/// The WebRTC engine as the room sees it; see [`Engine`] for the meaning of each call.
#[allow(missing_docs)]
pub trait Media: Send + Sync + 'static {
    fn connect(&self, id: ViewerId, options: ConnectOptions) -> Pending<'_, Result<Offer, EngineError>>;
    fn accept(
        &self,
        id: ViewerId,
        options: ConnectOptions,
        sdp: String,
        channel: &'static str,
    ) -> Pending<'_, Result<String, EngineError>>;
    fn answer(&self, id: ViewerId, sdp: String) -> Pending<'_, Result<(), EngineError>>;
    fn offer(&self, id: ViewerId, sdp: String) -> Pending<'_, Result<String, EngineError>>;
    fn restart_ice(&self, id: ViewerId) -> Pending<'_, Result<Offer, EngineError>>;
    fn remote_candidate(&self, id: ViewerId, candidate: String) -> Pending<'_, Result<(), EngineError>>;
    fn set_video(&self, id: ViewerId, choice: VideoChoice);
    fn set_audio(&self, id: ViewerId, disabled: bool);
    fn set_paused(&self, id: ViewerId, paused: bool);
    fn send_data(&self, id: ViewerId, message: Bytes);
    fn broadcast_data(&self, except: Option<ViewerId>, message: Bytes);
    fn close(&self, id: ViewerId);
    fn stats(&self, id: ViewerId) -> Pending<'_, Result<ViewerStats, EngineError>>;
    fn change_to_send(&self) -> DelayHistogram;
}

impl Media for Engine {
    fn connect(&self, id: ViewerId, options: ConnectOptions) -> Pending<'_, Result<Offer, EngineError>> {
        Box::pin(Self::connect(self, id, options))
    }
    fn accept(
        &self,
        id: ViewerId,
        options: ConnectOptions,
        sdp: String,
        channel: &'static str,
    ) -> Pending<'_, Result<String, EngineError>> {
        Box::pin(Self::accept(self, id, options, sdp, channel))
    }
    fn answer(&self, id: ViewerId, sdp: String) -> Pending<'_, Result<(), EngineError>> {
        Box::pin(Self::answer(self, id, sdp))
    }
    fn offer(&self, id: ViewerId, sdp: String) -> Pending<'_, Result<String, EngineError>> {
        Box::pin(Self::offer(self, id, sdp))
    }
    fn restart_ice(&self, id: ViewerId) -> Pending<'_, Result<Offer, EngineError>> {
        Box::pin(Self::restart_ice(self, id))
    }
    fn remote_candidate(&self, id: ViewerId, candidate: String) -> Pending<'_, Result<(), EngineError>> {
        Box::pin(Self::remote_candidate(self, id, candidate))
    }
    fn set_video(&self, id: ViewerId, choice: VideoChoice) {
        Self::set_video(self, id, choice);
    }
    fn set_audio(&self, id: ViewerId, disabled: bool) {
        Self::set_audio(self, id, disabled);
    }
    fn set_paused(&self, id: ViewerId, paused: bool) {
        Self::set_paused(self, id, paused);
    }
    fn send_data(&self, id: ViewerId, message: Bytes) {
        Self::send_data(self, id, message);
    }
    fn broadcast_data(&self, except: Option<ViewerId>, message: Bytes) {
        Self::broadcast_data(self, except, message);
    }
    fn change_to_send(&self) -> DelayHistogram {
        Self::change_to_send(self)
    }
    fn close(&self, id: ViewerId) {
        Self::close(self, id);
    }
    fn stats(&self, id: ViewerId) -> Pending<'_, Result<ViewerStats, EngineError>> {
        Box::pin(Self::stats(self, id))
    }
}
