//! Size, scale, picture and pointer of the screen.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

mod harness;

use glasshouse_desktop::{App, Event, Input, Size};
use harness::{command, config, connect, eventually, start, start_with, window::TestWindow};
use x11rb::{
    connection::Connection,
    protocol::{
        randr::ConnectionExt as _,
        xproto::{AtomEnum, ChangeWindowAttributesAux, ConnectionExt as _},
    },
};

#[tokio::test]
async fn any_size_is_taken_exactly() {
    let (desktop, recorder) = start().await;
    let (conn, root) = connect(&desktop);
    for (width, height) in [(1280, 720), (320, 240), (3840, 2160), (801, 603), (801, 240), (1023, 2160), (640, 480)] {
        let size = Size { width, height };
        assert_eq!(desktop.resize(size, 100).await.unwrap(), size);
        let geometry = conn.get_geometry(root).unwrap().reply().unwrap();
        assert_eq!((geometry.width, geometry.height), (width, height));
        // Window managers and browsers go by the monitor.
        let monitors = conn.randr_get_monitors(root, true).unwrap().reply().unwrap().monitors;
        assert_eq!(monitors.len(), 1);
        assert_eq!((monitors[0].width, monitors[0].height), (width, height));
        eventually("the size is reported", || (desktop.size() == size).then_some(())).await;
        assert!(desktop.sizes().contains(&size));
    }
    assert!(recorder.all().iter().any(|e| matches!(e, Event::Screen(size) if size.width == 3840)));
    for (width, height) in [(319, 240), (320, 239), (3841, 100), (0, 0), (u16::MAX, u16::MAX)] {
        assert!(desktop.resize(Size { width, height }, 100).await.is_err());
    }
    assert!(desktop.resize(harness::SIZE, 99).await.is_err());
    let modes = conn.randr_get_screen_resources_current(root).unwrap().reply().unwrap().modes.len();
    assert!(modes < 20, "modes pile up: {modes}");
    desktop.stop().await;
}

#[tokio::test]
async fn toolkits_are_told_the_scale() {
    let (desktop, _) = start().await;
    let (conn, root) = connect(&desktop);
    let atom = |name: &str| conn.intern_atom(false, name.as_bytes()).unwrap().reply().unwrap().atom;
    desktop.resize(harness::SIZE, 200).await.unwrap();
    let owner = conn.get_selection_owner(atom("_XSETTINGS_S0")).unwrap().reply().unwrap().owner;
    let property = atom("_XSETTINGS_SETTINGS");
    let settings = conn.get_property(false, owner, property, AtomEnum::ANY, 0, 1000).unwrap().reply().unwrap().value;
    let value = |name: &str| {
        let at = settings.windows(name.len()).position(|part| part == name.as_bytes()).unwrap() + name.len();
        let at = at.next_multiple_of(4) + 4;
        u32::from_ne_bytes(settings[at..at + 4].try_into().unwrap())
    };
    assert_eq!(value("Xft/DPI"), 2 * 96 * 1024);
    assert_eq!(value("Gdk/WindowScalingFactor"), 2);
    let resources =
        conn.get_property(false, root, AtomEnum::RESOURCE_MANAGER, AtomEnum::ANY, 0, 1000).unwrap().reply().unwrap();
    assert!(String::from_utf8_lossy(&resources.value).contains("Xft.dpi:\t192"));
    desktop.stop().await;
}

#[tokio::test]
async fn a_screenshot_has_the_right_colours() {
    let (desktop, _) = start().await;
    let _window = TestWindow::open(&desktop);
    let jpeg = desktop.screenshot_jpeg(90).await.unwrap();
    let mut decoder = jpeg_decoder::Decoder::new(jpeg.as_slice());
    let pixels = decoder.decode().unwrap();
    let info = decoder.info().unwrap();
    assert_eq!((info.width, info.height), (640, 480));
    let middle = (240 * 640 + 320) * 3;
    for (got, want) in pixels[middle..middle + 3].iter().zip([0x20_i32, 0x40, 0x60]) {
        assert!((i32::from(*got) - want).abs() <= 4, "{:?}", &pixels[middle..middle + 3]);
    }
    desktop.stop().await;
}

#[tokio::test]
async fn the_pointers_image_follows_the_window() {
    let (desktop, recorder) = start().await;
    let window = TestWindow::open(&desktop);
    desktop.input(Input::Move { x: 100, y: 100 });
    let font = window.conn.generate_id().unwrap();
    let cursor = window.conn.generate_id().unwrap();
    window.conn.open_font(font, b"cursor").unwrap();
    // The glyph 60 is a hand.
    let white = u16::MAX;
    window.conn.create_glyph_cursor(cursor, font, font, 60, 61, white, 0, 0, 0, 0, white).unwrap();
    let images = || -> Vec<_> {
        let image = |event| if let Event::Cursor(cursor) = event { Some(cursor) } else { None };
        recorder.all().into_iter().filter_map(image).collect()
    };
    let before = eventually("the first image is reported", || images().pop()).await;
    let aux = ChangeWindowAttributesAux::new().cursor(cursor);
    window.conn.change_window_attributes(window.id, &aux).unwrap();
    window.conn.flush().unwrap();
    let seen = eventually("the new image is reported", || images().pop().filter(|seen| seen.png != before.png)).await;
    let mut png = png::Decoder::new(std::io::Cursor::new(&seen.png)).read_info().unwrap();
    let mut pixels = vec![0; png.output_buffer_size().unwrap()];
    let frame = png.next_frame(&mut pixels).unwrap();
    assert_eq!((frame.width, frame.height), (u32::from(seen.width), u32::from(seen.height)));
    let colours: Vec<&[u8]> = pixels.chunks_exact(4).filter(|pixel| pixel[3] == 255).collect();
    assert!(colours.contains(&[255, 0, 0, 255].as_slice()) && colours.contains(&[0, 0, 255, 255].as_slice()));
    desktop.stop().await;
}

#[tokio::test]
async fn a_display_that_exists_is_used_and_left_alone() {
    let (owner, _) = start().await;
    let mut existing = config(command(&["sleep", "1000"]));
    existing.display = glasshouse_desktop::Display::Existing(owner.display().into());
    // The library looks for the cookie where everybody does.
    // SAFETY: no other thread of this test binary reads the environment at this point in a way that matters here.
    unsafe { std::env::set_var("XAUTHORITY", owner.xauthority().unwrap()) };
    let (guest, _) = start_with(existing).await;
    let window = TestWindow::open(&owner);
    guest.input(Input::KeyDown(0x61));
    assert_eq!(window.next_input(), "+a");
    guest.set_clipboard(Some("shared".into()), None).await.unwrap();
    assert_eq!(owner.clipboard_text().await.unwrap(), "shared");
    assert_eq!(guest.size(), harness::SIZE);
    assert!(guest.rfb_socket().is_none());
    guest.stop().await;
    assert!(owner.screenshot_jpeg(50).await.is_ok(), "the display went with its guest");
    let mut gone = config(App::None);
    gone.display = glasshouse_desktop::Display::Existing(":9999".into());
    let error = glasshouse_desktop::Desktop::start(gone, harness::Recorder::default().sink()).await.unwrap_err();
    assert!(error.to_string().starts_with("display :9999: "), "{error}");
    owner.stop().await;
}
