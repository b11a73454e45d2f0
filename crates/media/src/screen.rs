//! The X side of capture: what changed on the root window, and its pixels.

use std::{os::fd::AsFd, path::Path};

use x11rb::{
    connection::{Connection, RequestConnection},
    errors::ReplyError,
    protocol::{
        Event,
        damage::{self, ConnectionExt as _, ReportLevel},
        randr::{self, ConnectionExt as _},
        shm::{self, ConnectionExt as _},
        xfixes::{self, ConnectionExt as _},
        xproto::{ChangeWindowAttributesAux, ConnectionExt as _, EventMask, ImageFormat, ImageOrder, Window},
    },
    rust_connection::{DefaultStream, RustConnection},
};

use crate::{
    Error,
    picture::Picture,
    shm::SharedMemory,
    tiles::{TILE, TileMap, TileRect},
    xconnect::connect,
};

/// Price of one more `ShmGetImage` request in tiles copied in vain (measured on Xvnc: about 20 µs against 0.12 µs a tile).
const REQUEST_COST: usize = 120;

/// Why nothing could be read this time.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The size changed under way; ask for the new one and start over.
    Resized,
    /// The connection is of no more use.
    Lost(String),
}

impl<E: Into<ReplyError>> From<E> for Trouble {
    fn from(error: E) -> Self {
        match error.into() {
            // The server checks a request against the present geometry and answers with a protocol error.
            ReplyError::X11Error(_) => Self::Resized,
            ReplyError::ConnectionError(error) => Self::Lost(error.to_string()),
        }
    }
}

/// What events said since the last look.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct News {
    pub(crate) damaged: bool,
    pub(crate) resized: bool,
}

/// A connection to a display with its damage object and shared memory.
pub(crate) struct Screen {
    connection: RustConnection,
    root: Window,
    damage: damage::Damage,
    region: xfixes::Region,
    segment: Option<(shm::Seg, SharedMemory)>,
    size: (u16, u16),
    rects: Vec<TileRect>,
}

impl Screen {
    /// Opens the display and subscribes to damage and size changes.
    ///
    /// # Errors
    /// No server, no permission, a missing extension, or pixels of another format than 32 bit BGRX.
    pub(crate) fn open(display: &str, xauthority: Option<&Path>) -> Result<Self, Error> {
        let (connection, screen) = connect(display, xauthority)?;
        let fail = |reason: String| Error::Display { display: display.to_owned(), reason };
        for (name, label) in [
            (damage::X11_EXTENSION_NAME, "DAMAGE"),
            (shm::X11_EXTENSION_NAME, "MIT-SHM"),
            (xfixes::X11_EXTENSION_NAME, "XFIXES"),
        ] {
            if connection.extension_information(name).map_err(|e| fail(e.to_string()))?.is_none() {
                return Err(fail(format!("the X server lacks the {label} extension")));
            }
        }
        Self::set_up(connection, screen).map_err(|error| match error {
            SetUpError::X(error) => fail(error.to_string()),
            SetUpError::Unfit(reason) => fail(reason),
        })
    }

    fn set_up(connection: RustConnection, screen: usize) -> Result<Self, SetUpError> {
        connection.damage_query_version(1, 1)?.reply()?;
        connection.xfixes_query_version(5, 0)?.reply()?;
        let version = connection.shm_query_version()?.reply()?;
        if (version.major_version, version.minor_version) < (1, 2) {
            return Err(SetUpError::Unfit(
                "the X server's MIT-SHM is older than 1.2 and cannot take a descriptor".into(),
            ));
        }
        let setup = connection.setup();
        let screen = &setup.roots[screen];
        let root = screen.root;
        let bits = setup.pixmap_formats.iter().find(|f| f.depth == screen.root_depth).map(|f| f.bits_per_pixel);
        let blue_first = screen
            .allowed_depths
            .iter()
            .flat_map(|depth| &depth.visuals)
            .any(|v| v.visual_id == screen.root_visual && v.red_mask == 0xff_0000 && v.blue_mask == 0xff);
        if bits != Some(32) || !blue_first || setup.image_byte_order != ImageOrder::LSB_FIRST {
            return Err(SetUpError::Unfit(
                "the screen is not true colour of depth 24: start the X server with it".into(),
            ));
        }
        let size = (screen.width_in_pixels, screen.height_in_pixels);
        let events = ChangeWindowAttributesAux::new().event_mask(EventMask::STRUCTURE_NOTIFY);
        connection.change_window_attributes(root, &events)?.check()?;
        if connection.extension_information(randr::X11_EXTENSION_NAME)?.is_some() {
            connection.randr_query_version(1, 2)?.reply()?;
            connection.randr_select_input(root, randr::NotifyMask::SCREEN_CHANGE)?.check()?;
        }
        let region = new_id(&connection)?;
        connection.xfixes_create_region(region, &[])?.check()?;
        let damage = new_id(&connection)?;
        // One event when the first damage comes, none until we have fetched it: a flood of drawing costs us nothing.
        connection.damage_create(damage, root, ReportLevel::NON_EMPTY)?.check()?;
        connection.flush()?;
        Ok(Self { connection, root, damage, region, segment: None, size, rects: Vec::new() })
    }

    /// The socket, to wait on.
    pub(crate) fn stream(&self) -> &DefaultStream {
        self.connection.stream()
    }

    /// Takes in all events that have arrived; must be called before waiting on the socket.
    pub(crate) fn news(&mut self) -> Result<News, Trouble> {
        let mut news = News::default();
        while let Some(event) = self.connection.poll_for_event().map_err(ReplyError::from)? {
            match event {
                Event::DamageNotify(_) => news.damaged = true,
                Event::ConfigureNotify(e) if e.window == self.root => news.resized = true,
                Event::RandrScreenChangeNotify(_) => news.resized = true,
                _ => {}
            }
        }
        Ok(news)
    }

    /// Asks for the present size and makes the shared memory large enough.
    pub(crate) fn measure(&mut self) -> Result<(usize, usize), Trouble> {
        let geometry = self.connection.get_geometry(self.root)?.reply().map_err(lost)?;
        self.size = (geometry.width, geometry.height);
        let (width, height) = (usize::from(geometry.width), usize::from(geometry.height));
        let needed = width * height * 4;
        if self.segment.as_ref().is_none_or(|(_, memory)| memory.len() < needed || memory.len() / 4 > needed) {
            if let Some((segment, _)) = self.segment.take() {
                self.connection.shm_detach(segment)?.check().map_err(lost)?;
            }
            let (memory, file) = SharedMemory::new(needed).map_err(|error| Trouble::Lost(error.to_string()))?;
            let segment = self.connection.generate_id().map_err(|error| Trouble::Lost(error.to_string()))?;
            self.connection.shm_attach_fd(segment, file, false)?.check().map_err(lost)?;
            self.segment = Some((segment, memory));
        }
        Ok((width, height))
    }

    /// Adds what changed since the last call to `damaged`, and starts counting anew.
    pub(crate) fn fetch_damage(&mut self, damaged: &mut TileMap) -> Result<(), Trouble> {
        self.connection.damage_subtract(self.damage, x11rb::NONE, self.region)?;
        let region = self.connection.xfixes_fetch_region(self.region)?.reply().map_err(lost)?;
        for rect in &region.rectangles {
            damaged.insert_pixels(i32::from(rect.x), i32::from(rect.y), u32::from(rect.width), u32::from(rect.height));
        }
        Ok(())
    }

    /// Reads the pixels of the tiles into `picture`, which has the measured size, and leaves the rectangles that it
    /// read in [`Screen::rects`]. Returns the number of pixels.
    pub(crate) fn grab(&mut self, tiles: &TileMap, picture: &mut Picture) -> Result<u64, Trouble> {
        let Some((segment, _)) = &self.segment else { return Err(Trouble::Resized) };
        tiles.cover(REQUEST_COST, &mut self.rects);
        let mut offset = 0;
        let mut replies = Vec::with_capacity(self.rects.len());
        for rect in &self.rects {
            let (x, y, width, height) = pixels(self.size, rect);
            let format = u8::from(ImageFormat::Z_PIXMAP);
            let (left, top) = (x as i16, y as i16);
            let at = offset as u32;
            let request = (left, top, width as u16, height as u16);
            let cookie = self
                .connection
                .shm_get_image(self.root, request.0, request.1, request.2, request.3, !0, format, *segment, at)?;
            replies.push(cookie);
            offset += width * height * 4;
        }
        // In the same round trip: pixels count only if the size is still the one that we asked them for.
        let geometry = self.connection.get_geometry(self.root)?;
        let mut outcome = Ok(());
        for reply in replies {
            // All must be waited for: the server writes until the last one.
            if let Err(error) = reply.reply() {
                outcome = Err(Trouble::from(error));
            }
        }
        let geometry = geometry.reply().map_err(lost)?;
        outcome?;
        if (geometry.width, geometry.height) != self.size {
            return Err(Trouble::Resized);
        }
        let mut count = 0;
        self.each(|rect, width, height, bgrx| {
            picture.convert(rect, width, height, bgrx);
            count += width * height;
        });
        Ok(count as u64)
    }

    /// Visits the rectangles that the last [`Screen::grab`] read: each with its width and height in pixels, and its BGRX pixels packed
    /// without padding between rows.
    pub(crate) fn each(&self, mut visit: impl FnMut(&TileRect, usize, usize, &[u8])) {
        let Some((_, memory)) = &self.segment else { return };
        let mut offset = 0;
        for rect in &self.rects {
            let (_, _, width, height) = pixels(self.size, rect);
            let length = width * height * 4;
            visit(rect, width, height, &memory.bytes()[offset..offset + length]);
            offset += length;
        }
    }

    /// Gives back the memory that pixels arrive in; the next [`Screen::grab`] gets new pages.
    pub(crate) fn release_memory(&mut self) {
        if let Some((_, memory)) = &mut self.segment {
            memory.release();
        }
    }

    /// What the last [`Screen::grab`] read.
    pub(crate) fn rects(&self) -> &[TileRect] {
        &self.rects
    }

    /// A second handle of the socket, to shut it down from another thread.
    pub(crate) fn duplicate_socket(&self) -> std::io::Result<std::os::fd::OwnedFd> {
        self.connection.stream().as_fd().try_clone_to_owned()
    }
}

/// Left, top, width and height in pixels of what a rectangle shows of a screen of this size.
fn pixels(size: (u16, u16), rect: &TileRect) -> (usize, usize, usize, usize) {
    let (x, y) = (rect.col * TILE, rect.row * TILE);
    (x, y, (rect.cols * TILE).min(usize::from(size.0) - x), (rect.rows * TILE).min(usize::from(size.1) - y))
}

/// An error that no size change explains.
fn lost(error: ReplyError) -> Trouble {
    Trouble::Lost(format!("{error}"))
}

enum SetUpError {
    X(ReplyError),
    Unfit(String),
}

impl<E: Into<ReplyError>> From<E> for SetUpError {
    fn from(error: E) -> Self {
        Self::X(error.into())
    }
}

fn new_id(connection: &RustConnection) -> Result<u32, SetUpError> {
    connection.generate_id().map_err(|error| SetUpError::Unfit(error.to_string()))
}
