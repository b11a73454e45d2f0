//! WebSocket messages of clients.

use glasshouse_desktop::{KeyboardMap, KeyboardModifiers};
use glasshouse_room::merge::{self, Field, MergeError};
use serde_json::Value;

use crate::{
    signal::{SelectorKind, StreamSelector, VideoRequest, codec_of},
    wire::ScreenSize,
};

/// Largest message taken from a client, in bytes.
pub const MAX_MESSAGE: usize = 2 * 1024 * 1024;
/// Lines of a client's log taken from one message.
const MAX_LOG_LINES: usize = 100;

/// A control event: what to do, after moving the pointer to a place if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Move only.
    Move,
    /// Wheel clicks.
    Scroll {
        /// Horizontal, positive is left.
        x: i32,
        /// Vertical, positive is up.
        y: i32,
        /// With Control held.
        control: bool,
    },
    /// Button down and up, with everything else released first.
    ButtonPress(u32),
    /// X button down.
    ButtonDown(u32),
    /// X button up.
    ButtonUp(u32),
    /// Key down and up, with everything else released first.
    KeyPress(u32),
    /// X keysym down.
    KeyDown(u32),
    /// X keysym up.
    KeyUp(u32),
    /// Touch screens are not emulated; `touch_events` says so in `system/init`.
    Touch,
    /// Control and this key.
    Shortcut(char),
}

/// What a client says.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientEvent {
    /// Keeps proxies awake.
    Heartbeat,
    /// Lines for our log: level and text.
    Logs(Vec<(String, String)>),
    /// Asks for a peer connection.
    SignalRequest {
        /// What to show.
        video: VideoRequest,
        /// No sound.
        audio_disabled: bool,
    },
    /// Asks for new ICE credentials.
    SignalRestart,
    /// SDP offer.
    SignalOffer(String),
    /// SDP answer.
    SignalAnswer(String),
    /// ICE candidate.
    SignalCandidate(String),
    /// Changes what is shown.
    SignalVideo(VideoRequest),
    /// Changes the sound.
    SignalAudio {
        /// No sound, if given.
        disabled: Option<bool>,
    },
    /// Asks for control.
    ControlRequest,
    /// Lets go of control.
    ControlRelease,
    /// Input; `at` is where the pointer goes first.
    Control {
        /// Place on the screen in pixels.
        at: Option<(i32, i32)>,
        /// What to do there.
        control: Control,
    },
    /// Puts text into the clipboard, if there is any, and presses Control and V.
    Paste(String),
    /// Changes the screen size.
    ScreenSet(ScreenSize),
    /// Puts text into the clipboard.
    ClipboardSet(String),
    /// Changes the keyboard layout.
    KeyboardMap(KeyboardMap),
    /// Locks or unlocks modifiers.
    KeyboardModifiers(KeyboardModifiers),
    /// A message for one member, or for all without a receiver.
    Send {
        /// Session id of the receiver; `None` for all.
        receiver: Option<String>,
        /// Subject.
        subject: String,
        /// Anything.
        body: Value,
    },
    /// Chat.
    Chat(String),
    /// Asks for the list of files.
    FileTransfer,
    /// Changes size and scale of the screen.
    Resize {
        /// Width in pixels.
        width: u16,
        /// Height in pixels.
        height: u16,
        /// Scale in per cent.
        scale: u16,
    },
    /// Asks for statistics every second, or no longer.
    Stats {
        /// Wanted.
        enabled: bool,
    },
    /// The own pointer left the picture.
    CursorLeave,
    /// Says who may act on the desktop.
    Mode(String),
}

/// Why a message cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// No JSON object with an event name.
    #[error("message is no JSON object with an event")]
    Malformed,
    /// Nobody knows this event.
    #[error("unknown event")]
    Unknown(String),
    /// The payload does not fit the event.
    #[error("{reason}")]
    Payload {
        /// Name of the event.
        event: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl ParseError {
    /// Name of the event, shortened to 64 characters; empty when there was none.
    pub fn event(&self) -> &str {
        match self {
            Self::Malformed => "",
            Self::Unknown(event) | Self::Payload { event, .. } => event,
        }
    }
}

/// Parses one message of a client.
///
/// # Errors
/// It is no JSON, unknown, or its payload has the wrong type. neko ignores such messages.
pub fn parse(text: &str) -> Result<ClientEvent, ParseError> {
    let message: Value = serde_json::from_str(text).map_err(|_| ParseError::Malformed)?;
    let Value::Object(_) = message else { return Err(ParseError::Malformed) };
    let (mut event, mut payload) = (String::new(), None);
    merge::object(&message, |key, field| {
        match key {
            "event" => field.string(&mut event)?,
            "payload" => payload = Some(field.value.clone()),
            _ => {}
        }
        Ok(())
    })
    .map_err(|_| ParseError::Malformed)?;
    let short = || event.chars().take(64).collect::<String>();
    let wrong = |reason: String| ParseError::Payload { event: short(), reason };
    if let Some(parsed) = without_payload(&event) {
        return Ok(parsed);
    }
    let known = with_payload(&event).ok_or_else(|| ParseError::Unknown(short()))?;
    let payload = payload.ok_or_else(|| wrong("payload is missing".to_owned()))?;
    known(&event, &payload).map_err(|error| wrong(error.to_string()))
}

fn without_payload(event: &str) -> Option<ClientEvent> {
    let shortcut = |key| ClientEvent::Control { at: None, control: Control::Shortcut(key) };
    Some(match event {
        "client/heartbeat" => ClientEvent::Heartbeat,
        "signal/restart" => ClientEvent::SignalRestart,
        "control/request" => ClientEvent::ControlRequest,
        "control/release" => ClientEvent::ControlRelease,
        "control/cut" => shortcut('x'),
        "control/copy" => shortcut('c'),
        "control/select_all" => shortcut('a'),
        "filetransfer/update" => ClientEvent::FileTransfer,
        "glasshouse/cursor_leave" => ClientEvent::CursorLeave,
        _ => return None,
    })
}

type Parser = fn(&str, &Value) -> Result<ClientEvent, MergeError>;

fn with_payload(event: &str) -> Option<Parser> {
    Some(match event {
        "system/logs" => |_, payload| Ok(ClientEvent::Logs(logs(payload))),
        "signal/request" => |_, payload| signal_request(payload),
        "signal/offer" => |_, payload| Ok(ClientEvent::SignalOffer(text(payload, "sdp")?)),
        "signal/answer" => |_, payload| Ok(ClientEvent::SignalAnswer(text(payload, "sdp")?)),
        "signal/candidate" => |_, payload| Ok(ClientEvent::SignalCandidate(text(payload, "candidate")?)),
        "signal/video" => |_, payload| Ok(ClientEvent::SignalVideo(video_request(payload)?)),
        "signal/audio" => |_, payload| {
            let mut disabled = None;
            merge::object(payload, |key, field| match key {
                "disabled" => field.some_bool(&mut disabled),
                _ => Ok(()),
            })?;
            Ok(ClientEvent::SignalAudio { disabled })
        },
        "control/move"
        | "control/scroll"
        | "control/buttonpress"
        | "control/buttondown"
        | "control/buttonup"
        | "control/keypress"
        | "control/keydown"
        | "control/keyup"
        | "control/touchbegin"
        | "control/touchupdate"
        | "control/touchend" => control,
        "control/paste" => |_, payload| Ok(ClientEvent::Paste(text(payload, "text")?)),
        "screen/set" => |_, payload| {
            let mut size = ScreenSize::default();
            size.merge(payload)?;
            Ok(ClientEvent::ScreenSet(size))
        },
        "clipboard/set" => |_, payload| Ok(ClientEvent::ClipboardSet(text(payload, "text")?)),
        "keyboard/map" => |_, payload| Ok(ClientEvent::KeyboardMap(keyboard_map(payload)?)),
        "keyboard/modifiers" => |_, payload| Ok(ClientEvent::KeyboardModifiers(keyboard_modifiers(payload)?)),
        "send/unicast" | "send/broadcast" => send,
        "chat/message" => |_, payload| Ok(ClientEvent::Chat(text(payload, "text")?)),
        "glasshouse/resize" => |_, payload| {
            let (mut width, mut height, mut scale) = (0, 0, 100);
            merge::object(payload, |key, field| match key {
                "width" => field.int(&mut width),
                "height" => field.int(&mut height),
                "scale" => field.int(&mut scale),
                _ => Ok(()),
            })?;
            Ok(ClientEvent::Resize { width, height, scale })
        },
        "glasshouse/mode" => |_, payload| Ok(ClientEvent::Mode(text(payload, "mode")?)),
        "glasshouse/stats" => |_, payload| {
            let mut enabled = false;
            merge::object(payload, |key, field| match key {
                "enabled" => field.bool(&mut enabled),
                _ => Ok(()),
            })?;
            Ok(ClientEvent::Stats { enabled })
        },
        _ => return None,
    })
}

/// One string of an object; empty when it is absent.
fn text(payload: &Value, name: &str) -> Result<String, MergeError> {
    let mut text = String::new();
    merge::object(payload, |key, field| if key == name { field.string(&mut text) } else { Ok(()) })?;
    Ok(text)
}

fn logs(payload: &Value) -> Vec<(String, String)> {
    let lines = payload.as_array().map(Vec::as_slice).unwrap_or_default();
    let short = |line: &Value, key| line[key].as_str().unwrap_or_default().chars().take(1024).collect::<String>();
    lines.iter().take(MAX_LOG_LINES).map(|line| (short(line, "level"), short(line, "message"))).collect()
}

fn signal_request(payload: &Value) -> Result<ClientEvent, MergeError> {
    let (mut video, mut audio_disabled, mut auto) = (VideoRequest::default(), false, false);
    merge::object(payload, |key, field| match key {
        "video" => {
            video = video_request(field.value)?;
            Ok(())
        }
        "audio" => merge::object(field.value, |key, field| match key {
            "disabled" => field.bool(&mut audio_disabled),
            _ => Ok(()),
        }),
        "auto" => field.bool(&mut auto),
        _ => Ok(()),
    })?;
    video.auto.get_or_insert(auto);
    Ok(ClientEvent::SignalRequest { video, audio_disabled })
}

fn video_request(payload: &Value) -> Result<VideoRequest, MergeError> {
    let mut request = VideoRequest::default();
    merge::object(payload, |key, field| match key {
        "disabled" => field.some_bool(&mut request.disabled),
        "auto" => field.some_bool(&mut request.auto),
        "codec" => {
            let mut name = String::new();
            field.string(&mut name)?;
            if !name.is_empty() {
                request.codec = Some(codec_of(&name).ok_or_else(|| wrong(field, "auto, vp8, vp9 or h264"))?);
            }
            Ok(())
        }
        "selector" => {
            request.selector = if field.value.is_null() { None } else { Some(selector(field.value)?) };
            Ok(())
        }
        _ => Ok(()),
    })?;
    Ok(request)
}

fn selector(payload: &Value) -> Result<StreamSelector, MergeError> {
    let mut selector = StreamSelector::default();
    merge::object(payload, |key, field| match key {
        "id" => field.string(&mut selector.id),
        "bitrate" => field.int(&mut selector.bitrate),
        "type" => {
            let mut name = String::new();
            field.string(&mut name)?;
            selector.kind = match name.to_ascii_lowercase().as_str() {
                "" | "exact" => SelectorKind::Exact,
                "nearest" => SelectorKind::Nearest,
                "lower" => SelectorKind::Lower,
                "higher" => SelectorKind::Higher,
                _ => return Err(wrong(field, "exact, nearest, lower or higher")),
            };
            Ok(())
        }
        _ => Ok(()),
    })?;
    Ok(selector)
}

fn wrong(field: Field<'_>, expected: &'static str) -> MergeError {
    MergeError { key: field.key.chars().take(64).collect(), expected }
}

fn control(event: &str, payload: &Value) -> Result<ClientEvent, MergeError> {
    let (mut x, mut y, mut code, mut keysym) = (None, None, 0, 0);
    let (mut delta_x, mut delta_y, mut control_key) = (0, 0, false);
    merge::object(payload, |key, field| match key {
        "x" => field.some_int(&mut x),
        "y" => field.some_int(&mut y),
        "code" => field.int(&mut code),
        "keysym" => field.int(&mut keysym),
        "delta_x" => field.int(&mut delta_x),
        "delta_y" => field.int(&mut delta_y),
        "control_key" => field.bool(&mut control_key),
        _ => Ok(()),
    })?;
    let mut at = (x.is_some() || y.is_some()).then(|| (x.unwrap_or(0), y.unwrap_or(0)));
    let control = match event {
        "control/move" => {
            at = Some((x.unwrap_or(0), y.unwrap_or(0)));
            Control::Move
        }
        "control/scroll" => {
            // Old clients send the deltas as a place.
            if (delta_x, delta_y) == (0, 0) {
                (delta_x, delta_y) = (x.unwrap_or(0), y.unwrap_or(0));
                at = None;
            }
            Control::Scroll { x: delta_x, y: delta_y, control: control_key }
        }
        "control/buttonpress" => Control::ButtonPress(code),
        "control/buttondown" => Control::ButtonDown(code),
        "control/buttonup" => Control::ButtonUp(code),
        "control/keypress" => Control::KeyPress(keysym),
        "control/keydown" => Control::KeyDown(keysym),
        "control/keyup" => Control::KeyUp(keysym),
        _ => Control::Touch,
    };
    Ok(ClientEvent::Control { at, control })
}

pub(crate) fn keyboard_map(payload: &Value) -> Result<KeyboardMap, MergeError> {
    let mut map = KeyboardMap::default();
    merge::object(payload, |key, field| match key {
        "layout" => field.string(&mut map.layout),
        "variant" => field.string(&mut map.variant),
        _ => Ok(()),
    })?;
    Ok(map)
}

pub(crate) fn keyboard_modifiers(payload: &Value) -> Result<KeyboardModifiers, MergeError> {
    let mut modifiers = KeyboardModifiers::default();
    merge::object(payload, |key, field| match key {
        "shift" => field.some_bool(&mut modifiers.shift),
        "capslock" => field.some_bool(&mut modifiers.capslock),
        "control" => field.some_bool(&mut modifiers.control),
        "alt" => field.some_bool(&mut modifiers.alt),
        "numlock" => field.some_bool(&mut modifiers.numlock),
        "meta" => field.some_bool(&mut modifiers.meta),
        "super" => field.some_bool(&mut modifiers.super_),
        "altgr" => field.some_bool(&mut modifiers.altgr),
        _ => Ok(()),
    })?;
    Ok(modifiers)
}

fn send(event: &str, payload: &Value) -> Result<ClientEvent, MergeError> {
    let (mut receiver, mut subject, mut body) = (String::new(), String::new(), Value::Null);
    merge::object(payload, |key, field| match key {
        "receiver" => field.string(&mut receiver),
        "subject" => field.string(&mut subject),
        "body" => {
            body = field.value.clone();
            Ok(())
        }
        _ => Ok(()),
    })?;
    let receiver = (event == "send/unicast").then_some(receiver);
    Ok(ClientEvent::Send { receiver, subject, body })
}
