//! Which part of a window shows a page, and the places in it.

use std::sync::Arc;

/// What differs between what the browser says and what the screen shows when both mean the same window, in pixels.
const SLACK: f64 = 4.0;
/// Widest border of a window of Chromium's own making, on each side, in device-independent pixels.
const BORDER: f64 = 12.0;
/// Highest that tabs, tools, bookmarks and some lines of information are together, in device-independent pixels.
const CONTROLS: f64 = 300.0;

/// A window that is below the pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beneath {
    /// Its X window.
    pub window: u32,
    /// The pointer on the screen in pixels.
    pub pointer: (i32, i32),
    /// Left and top of the window's inside on the screen in pixels.
    pub place: (i32, i32),
    /// Its size in pixels.
    pub size: (u16, u16),
    /// Its title.
    pub title: Arc<str>,
    /// The modifiers that are held, as CDP counts them: 1 is Alt, 8 is Shift.
    pub modifiers: u8,
}

impl Beneath {
    /// Whether it is the same window at the same place.
    pub(super) fn is_at(&self, other: &Self) -> bool {
        (self.window, self.place, self.size) == (other.window, other.place, other.size)
    }

    /// Whether nothing says that it shows another page.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.is_at(other) && self.title == other.title
    }
}

/// What the browser says about a page and its window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said {
    /// Place and size of the window in device-independent pixels.
    pub(super) bounds: [f64; 4],
    /// Size of what shows the page, in the page's pixels.
    pub(super) inner: (f64, f64),
    /// Pixels of the screen to one of the page.
    pub(super) ratio: f64,
    /// How much a pinch has made larger.
    pub(super) pinch: f64,
}

/// A page that is on the screen, in pixels of the screen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct View {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
    /// Pixels of the screen to one of CDP's places.
    scale: f64,
    /// Pixels of the screen to a device-independent one.
    pub(super) density: f64,
}

impl View {
    /// The page's part of a window; none when the window is another one, or something stands beside the page, such as the
    /// developer tools.
    pub(super) fn of(said: &Said, beneath: &Beneath) -> Option<Self> {
        let [left, top, width, height] = said.bounds;
        let numbers = [left, top, width, height, said.inner.0, said.inner.1, said.ratio, said.pinch];
        if numbers.iter().any(|number| !number.is_finite()) || width < 1.0 || height < 1.0 {
            return None;
        }
        let size = (f64::from(beneath.size.0), f64::from(beneath.size.1));
        let place = (f64::from(beneath.place.0), f64::from(beneath.place.1));
        let density = size.0 / width;
        if !(0.5..=4.5).contains(&density) || !(0.1..=32.0).contains(&said.ratio) || !(0.1..=32.0).contains(&said.pinch)
        {
            return None;
        }
        let slack = SLACK * density.max(1.0);
        let is_near = |said: f64, seen: f64| (said * density - seen).abs() <= slack;
        if !is_near(height, size.1) || !is_near(left, place.0) || !is_near(top, place.1) {
            return None;
        }
        let page = (said.inner.0 * said.ratio, said.inner.1 * said.ratio);
        let border = (size.0 - page.0) / 2.0;
        if !(-slack..=BORDER * density).contains(&border) {
            return None;
        }
        let border = border.max(0.0);
        let above = size.1 - page.1 - border;
        if !(-slack..=CONTROLS * density).contains(&above) {
            return None;
        }
        let (left, top) = (place.0 + border, place.1 + above.max(0.0));
        Some(Self { left, top, width: page.0, height: page.1, scale: said.ratio * said.pinch, density })
    }

    /// The place in the page of a place on the screen; none outside of it.
    pub(super) fn place(&self, (x, y): (i32, i32)) -> Option<(f64, f64)> {
        let (x, y) = (f64::from(x) + 0.5 - self.left, f64::from(y) + 0.5 - self.top);
        let is_inside = (0.0..self.width).contains(&x) && (0.0..self.height).contains(&y);
        is_inside.then_some((x / self.scale, y / self.scale))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said() -> Said {
        Said { bounds: [10.0, 20.0, 1280.0, 720.0], inner: (1280.0, 633.0), ratio: 1.0, pinch: 1.0 }
    }

    fn beneath() -> Beneath {
        let (place, size) = ((10, 20), (1280, 720));
        Beneath { window: 1, pointer: (0, 0), place, size, title: "A page - Chromium".into(), modifiers: 0 }
    }

    #[test]
    fn places_in_a_page() {
        let view = View::of(&said(), &beneath()).unwrap();
        assert_eq!(view.place((10, 107)), Some((0.5, 0.5)));
        assert_eq!(view.place((1289, 739)), Some((1279.5, 632.5)));
        for outside in [(10, 106), (9, 300), (1290, 300), (100, 740), (i32::MIN, i32::MAX)] {
            assert_eq!(view.place(outside), None, "{outside:?}");
        }
        // Zoomed to 200 %, and pinched to twice the size.
        let zoomed = Said { inner: (640.0, 316.5), ratio: 2.0, ..said() };
        assert_eq!(View::of(&zoomed, &beneath()).unwrap().place((209, 306)), Some((99.75, 99.75)));
        let pinched = Said { pinch: 2.0, ..said() };
        assert_eq!(View::of(&pinched, &beneath()).unwrap().place((209, 306)), Some((99.75, 99.75)));
        // On a screen of 200 %, where a line of information is above the page.
        let fine = Said { inner: (1280.0, 593.0), ratio: 2.0, ..said() };
        let large = Beneath { place: (20, 40), size: (2560, 1440), ..beneath() };
        let view = View::of(&fine, &large).unwrap();
        assert_eq!((view.place((20, 294)), view.density), (Some((0.25, 0.25)), 2.0));
        // Within a border of Chromium's own, and with nothing around it.
        let framed = Said { inner: (1272.0, 625.0), ..said() };
        assert_eq!(View::of(&framed, &beneath()).unwrap().place((14, 111)), Some((0.5, 0.5)));
        let full = Said { inner: (1280.0, 720.0), ..said() };
        assert_eq!(View::of(&full, &beneath()).unwrap().place((10, 20)), Some((0.5, 0.5)));
    }

    #[test]
    fn another_window_or_one_that_is_shared_is_none() {
        let moved = Beneath { place: (40, 20), ..beneath() };
        let small = Beneath { size: (640, 360), place: (5, 10), ..beneath() };
        for other in [moved, small, Beneath { size: (1280, 500), ..beneath() }, Beneath { size: (0, 0), ..beneath() }] {
            assert_eq!(View::of(&said(), &other), None, "{other:?}");
        }
        let beside = Said { inner: (800.0, 633.0), ..said() };
        let below = Said { inner: (1280.0, 300.0), ..said() };
        let nonsense = Said { ratio: f64::NAN, ..said() };
        let empty = Said { ratio: 0.0, ..said() };
        for other in [beside, below, nonsense, empty] {
            assert_eq!(View::of(&other, &beneath()), None, "{other:?}");
        }
    }
}
