use super::{view::Said, *};

fn beneath(title: &str) -> Beneath {
    let (place, size) = ((0, 0), (1280, 720));
    Beneath { window: 1, pointer: (300, 300), place, size, title: title.into(), modifiers: 0 }
}

fn by(x: f64, y: f64) -> Distance {
    Distance { x, y, way: Way::Scroll }
}

fn seen(beneath: Beneath, at: Instant) -> Seen {
    let said = Said { bounds: [0.0, 0.0, 1280.0, 720.0], inner: (1280.0, 633.0), ratio: 1.0, pinch: 1.0 };
    let view = View::of(&said, &beneath).unwrap();
    Seen { page: Some((Attached::of("T", "S"), view)), beneath, at }
}

#[test]
fn what_waits_is_added_up_and_bounded() {
    let (mut state, now) = (State::default(), Instant::now());
    for _ in 0..1_000 {
        assert!(state.take(beneath("A"), by(0.25, -0.5), now));
    }
    assert_eq!(state.waiting.len(), 1);
    let next = state.next(now).ok().unwrap();
    assert_eq!(next.distance, by(250.0, -500.0));
    for _ in 0..100 {
        assert!(state.take(beneath("A"), by(1e9, -1e9), now));
    }
    assert_eq!(state.next(now).ok().unwrap().distance, by(MAX_DISTANCE, -MAX_DISTANCE));
    assert!(!state.take(beneath("A"), by(f64::NAN, 0.0), now));
    // Other kinds wait in their turn, and not too many.
    for i in 0..10 {
        let way = if i % 2 == 0 { Way::Scroll } else { Way::Drag };
        assert_eq!(state.take(beneath("A"), Distance { way, ..by(1e9, 1.0) }, now), i < MAX_WAITING || i % 2 == 1);
    }
    assert_eq!(state.waiting.len(), MAX_WAITING);
    assert!(state.waiting.iter().all(|waiting| waiting.distance.x == MAX_DISTANCE));
}

#[test]
fn a_slow_pinch_is_gathered() {
    let (mut state, now) = (State::default(), Instant::now());
    let pinch = |y| Distance { x: 0.0, y, way: Way::Pinch };
    assert!(state.take(beneath("A"), pinch(-2.0), now));
    assert_eq!(state.next(now).err().unwrap(), Some(now + PINCH_REST));
    assert!(state.take(beneath("A"), pinch(-4.5), now));
    assert_eq!(state.next(now).ok().unwrap().distance.y, -6.5);
    assert!(state.take(beneath("A"), pinch(1.0), now));
    assert!(state.next(now).is_err());
    // The rest of it, and one that something follows.
    assert_eq!(state.next(now + PINCH_REST).ok().unwrap().distance.y, 1.0);
    assert!(state.take(beneath("A"), pinch(1.0), now) && state.take(beneath("A"), by(0.0, 1.0), now));
    assert_eq!(state.next(now).ok().unwrap().distance.y, 1.0);
}

#[test]
fn what_is_no_page_is_not_taken() {
    let now = Instant::now();
    let mut state = State { seen: Some(seen(beneath("A"), now)), ..State::default() };
    assert!(state.take(beneath("A"), by(0.0, 1.0), now));
    let controls = Beneath { pointer: (300, 20), ..beneath("A") };
    assert!(!state.take(controls.clone(), by(0.0, 1.0), now));
    // What it shows now is not known.
    assert!(state.take(Beneath { title: "B".into(), ..controls }, by(0.0, 1.0), now));
    state.seen = Some(Seen { page: None, ..seen(beneath("A"), now) });
    assert!(!state.take(beneath("A"), by(0.0, 1.0), now));
    assert!(state.take(beneath("A"), by(0.0, 1.0), now + FRESH));
    // Another window does not wait for a page that is slow.
    let mut slow = State { under_way: Some((beneath("A"), now)), ..State::default() };
    let other = Beneath { window: 2, ..beneath("B") };
    assert!(slow.take(other.clone(), by(0.0, 1.0), now + SLOW));
    assert!(!slow.take(other, by(0.0, 1.0), now + SLOW + SLOW));
    assert!(slow.take(beneath("A"), by(0.0, 1.0), now + SLOW + SLOW));
    let hanging = State { hangs: true, ..State::default() };
    let failed = State { failed: Some(now), ..State::default() };
    for mut state in [hanging, failed] {
        assert!(!state.take(beneath("A"), by(0.0, 1.0), now));
    }
}

#[test]
fn events() {
    let (method, params) = event(by(1.5, -3.0), 2.0, (10.0, 20.0), 8);
    assert_eq!(method, "Input.dispatchMouseEvent");
    assert_eq!((&params["deltaX"], &params["deltaY"]), (&json!(1.5), &json!(-3.0)));
    assert_eq!((&params["x"], &params["y"], &params["modifiers"]), (&json!(10.0), &json!(20.0), &json!(8)));
    let (_, params) = event(Distance { way: Way::Drag, ..by(4.0, 6.0) }, 2.0, (0.0, 0.0), 0);
    assert_eq!((&params["deltaX"], &params["deltaY"]), (&json!(2.0), &json!(3.0)));
    for (y, wanted) in [(-10.0, 1.105), (10.0, 0.905), (-1e9, 4.482)] {
        let (method, params) = event(Distance { x: 0.0, y, way: Way::Pinch }, 1.0, (0.0, 0.0), 0);
        assert_eq!(method, "Input.synthesizePinchGesture");
        let scale = params["scaleFactor"].as_f64().unwrap();
        assert!((scale - wanted).abs() < 0.001, "{y}: {scale}");
    }
}
