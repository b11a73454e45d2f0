//! Fine scrolling: from the desktop, which knows what is below the pointer, to the browser, which knows its pages.

use std::sync::Arc;

use glasshouse_cdp::{Beneath, Distance, Gate, Scroller, Way};
use glasshouse_desktop::{Desktop, Fine, FineKind, Input};

/// Has the pages of a session's browser scrolled finely for as long as what is returned is kept. To be called within a tokio
/// runtime, once.
pub(crate) fn attach(desktop: &Arc<Desktop>, gate: &Gate) -> Arc<Scroller> {
    let back = Arc::downgrade(desktop);
    let scroller = Arc::new(gate.scroller(move |distance| {
        if let Some(desktop) = back.upgrade() {
            desktop.input(Input::FineClicks(to_fine(distance)));
        }
    }));
    // The gate's way to the browser holds the desktop, which must not hold the gate.
    let weak = Arc::downgrade(&scroller);
    desktop.attach_scroller(Box::new(move |beneath, by| {
        weak.upgrade().is_some_and(|scroller| scroller.scroll(to_beneath(beneath), to_distance(by)))
    }));
    scroller
}

fn to_beneath(beneath: &glasshouse_desktop::Beneath) -> Beneath {
    Beneath {
        window: beneath.window,
        pointer: beneath.pointer,
        place: beneath.place,
        size: beneath.size,
        title: beneath.title.clone(),
        modifiers: u8::from(beneath.alt) | u8::from(beneath.shift) << 3,
    }
}

fn to_distance(by: Fine) -> Distance {
    let way = match by.kind {
        FineKind::Scroll => Way::Scroll,
        FineKind::Drag => Way::Drag,
        FineKind::Pinch => Way::Pinch,
    };
    let pixels = |units: i32| f64::from(units) / f64::from(Fine::UNITS);
    Distance { x: pixels(by.x), y: pixels(by.y), way }
}

fn to_fine(distance: Distance) -> Fine {
    let kind = match distance.way {
        Way::Scroll => FineKind::Scroll,
        Way::Drag => FineKind::Drag,
        Way::Pinch => FineKind::Pinch,
    };
    // Casts of floats saturate.
    let units = |pixels: f64| (pixels * f64::from(Fine::UNITS)).round() as i32;
    Fine { x: units(distance.x), y: units(distance.y), kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_come_back_as_they_were() {
        for by in [
            Fine { x: 1, y: -1, kind: FineKind::Scroll },
            Fine { x: -Fine::MAX, y: Fine::MAX, kind: FineKind::Drag },
            Fine { x: 0, y: 12_345, kind: FineKind::Pinch },
        ] {
            assert_eq!(to_fine(to_distance(by)), by);
        }
    }
}
