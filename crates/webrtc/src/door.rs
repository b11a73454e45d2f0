//! A port that many engines share: reads the first packets of each peer, and hands the peer's socket to the engine that they
//! are for.
//!
//! A packet counts if it is a STUN binding request whose user name begins with the tag of an engine. For its sender a second
//! socket is bound to the same address and port (SO_REUSEPORT) and connected to the sender; the kernel prefers it from then on,
//! so that the door sees nothing more of this peer. The tag only shows the way: whether the packet is good is for the engine to
//! say, which knows the viewer's password.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    os::fd::AsFd,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, Waker};
use parking_lot::Mutex;
use tokio::{io::AsyncReadExt, net::TcpStream, sync::Semaphore};

use crate::{
    SharedPort,
    batch::{Batch, Kind},
    handover::{self, MAX_MESSAGE},
    ports::Datagrams,
    stun,
    udp::{self, Udp},
};

const PORT: Token = Token(0);
const WAKE: Token = Token(1);

/// Time that what follows is counted in.
const WINDOW: Duration = Duration::from_secs(1);
/// Datagrams read in a window; the kernel drops what does not fit its buffer until the next one.
const MAX_DATAGRAMS: u64 = 50_000;
/// Sockets made in a window for one engine, and for one address (a /64 of IPv6).
const MAX_OF_TAG: u32 = 200;
const MAX_OF_SOURCE: u32 = 100;
/// Addresses and tags that are counted in a window; peers at more are not heard in it.
const MAX_COUNTED: usize = 4096;
/// TCP connections that have not said yet whose they are.
const MAX_ANONYMOUS: usize = 256;
/// How long a TCP connection may take to do so.
const ANONYMOUS_TIME: Duration = Duration::from_secs(5);
/// Largest first packet over TCP in bytes; browsers' have about 120.
const MAX_FIRST: usize = 1024;

/// What came in at a door so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams of peers that have no socket of their own.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Sockets handed over, UDP.
    pub udp: u64,
    /// Connections handed over, TCP.
    pub tcp: u64,
    /// Packets that were no binding request for any engine.
    pub strange: u64,
    /// Packets that were for an engine, but over a limit, or the engine or the kernel took no socket.
    pub refused: u64,
}

#[derive(Default)]
struct Counters {
    datagrams: AtomicU64,
    bytes: AtomicU64,
    udp: AtomicU64,
    tcp: AtomicU64,
    strange: AtomicU64,
    refused: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

type Find = Box<dyn Fn(&str) -> Option<PathBuf> + Send + Sync>;

/// What the thread and the TCP side share.
struct Shared {
    find: Find,
    counters: Counters,
    limits: Mutex<Limits>,
    is_stopping: AtomicBool,
    anonymous: Arc<Semaphore>,
}

impl Shared {
    /// The engine that a packet is for, if it may have another socket now.
    fn engine_of(&self, packet: &[u8], from: IpAddr) -> Option<PathBuf> {
        let tag = stun::local_ufrag(packet).and_then(stun::tag);
        let found = tag.and_then(|tag| Some((tag, (self.find)(tag)?)));
        let Some((tag, path)) = found else {
            count(&self.counters.strange);
            return None;
        };
        if !self.limits.lock().allow(tag, from, Instant::now()) {
            count(&self.counters.refused);
            return None;
        }
        Some(path)
    }
}

/// Sockets made lately.
struct Limits {
    since: Instant,
    tags: HashMap<String, u32>,
    sources: HashMap<IpAddr, u32>,
}

impl Limits {
    fn new(now: Instant) -> Self {
        Self { since: now, tags: HashMap::new(), sources: HashMap::new() }
    }

    fn allow(&mut self, tag: &str, source: IpAddr, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= WINDOW {
            *self = Self::new(now);
        }
        let source = match source {
            IpAddr::V4(_) => source,
            // Whoever has one address of a network has all of it.
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        };
        if self.sources.len() >= MAX_COUNTED && !self.sources.contains_key(&source) {
            return false;
        }
        let of_source = self.sources.entry(source).or_default();
        if *of_source >= MAX_OF_SOURCE {
            return false;
        }
        let of_tag = match self.tags.get_mut(tag) {
            Some(of_tag) => of_tag,
            None => self.tags.entry(tag.to_owned()).or_default(),
        };
        if *of_tag >= MAX_OF_TAG {
            return false;
        }
        *of_source += 1;
        *of_tag += 1;
        true
    }
}

/// The port. It is closed when this is dropped; sockets that were handed over live on.
pub struct Door {
    address: SharedPort,
    shared: Arc<Shared>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Door {
    /// Opens the UDP port. At a loopback address it serves this machine only, but at all of its addresses if it can. `find`
    /// says by which path the engine with a tag is handed sockets; it is called for every packet of a stranger.
    ///
    /// # Errors
    /// The port is taken or not allowed.
    pub fn open(
        address: SocketAddr,
        find: impl Fn(&str) -> Option<PathBuf> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let mut udp = Udp::bind(address, true)?;
        let address = SharedPort { address: udp.address(), is_private: udp.is_private() };
        let poll = Poll::new()?;
        poll.registry().register(udp.source(), PORT, Interest::READABLE)?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let shared = Arc::new(Shared {
            find: Box::new(find),
            counters: Counters::default(),
            limits: Mutex::new(Limits::new(Instant::now())),
            is_stopping: AtomicBool::new(false),
            anonymous: Arc::new(Semaphore::new(MAX_ANONYMOUS)),
        });
        let reader = Reader {
            poll,
            udp,
            shared: Arc::clone(&shared),
            batch: Batch::new(),
            handed: HashSet::new(),
            since: Instant::now(),
            read: 0,
        };
        let thread = std::thread::Builder::new().name("media-door".into()).spawn(move || reader.run())?;
        Ok(Self { address, shared, waker, thread: Some(thread) })
    }

    /// Where viewers reach it, for [`Engine::announce`](crate::Engine::announce).
    pub fn address(&self) -> SharedPort {
        self.address
    }

    /// What came in so far.
    pub fn counts(&self) -> Counts {
        let counters = &self.shared.counters;
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            datagrams: value(&counters.datagrams),
            bytes: value(&counters.bytes),
            udp: value(&counters.udp),
            tcp: value(&counters.tcp),
            strange: value(&counters.strange),
            refused: value(&counters.refused),
        }
    }

    /// Takes a connection whose first byte is no letter: ICE over TCP (RFC 4571 framing), which is handed to the engine that
    /// its first packet names. One that names none within 5 s is closed. To be called within a tokio runtime.
    pub fn accept_tcp(&self, stream: TcpStream) {
        let shared = Arc::clone(&self.shared);
        let Ok(permit) = Arc::clone(&shared.anonymous).try_acquire_owned() else {
            count(&shared.counters.refused);
            return;
        };
        tokio::spawn(async move {
            let _permit = permit;
            // One that says nothing in time is closed.
            let _ = tokio::time::timeout(ANONYMOUS_TIME, pass_on(&shared, stream)).await;
        });
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::Release);
        if self.waker.wake().is_ok()
            && let Some(thread) = self.thread.take()
        {
            // It ends in any case; a panic of it has been reported already.
            let _ = thread.join();
        }
    }
}

async fn pass_on(shared: &Shared, mut stream: TcpStream) -> io::Result<()> {
    let peer = stream.peer_addr()?.ip().to_canonical();
    let length = usize::from(stream.read_u16().await?);
    let mut first = vec![0; 2 + length];
    if length > MAX_FIRST {
        count(&shared.counters.strange);
        return Ok(());
    }
    first[..2].copy_from_slice(&(length as u16).to_be_bytes());
    stream.read_exact(&mut first[2..]).await?;
    let Some(path) = shared.engine_of(&first[2..], peer) else { return Ok(()) };
    match handover::hand_tcp(&path, stream.as_fd(), &first) {
        Ok(()) => count(&shared.counters.tcp),
        Err(error) => {
            tracing::debug!(%error, "an engine takes no connection");
            count(&shared.counters.refused);
        }
    }
    Ok(())
}

/// The thread that reads the UDP port.
struct Reader {
    poll: Poll,
    udp: Udp,
    shared: Arc<Shared>,
    batch: Batch,
    /// Peers that have got a socket, whose packets may still be waiting in ours.
    handed: HashSet<(SocketAddr, IpAddr)>,
    since: Instant,
    /// Datagrams read since then.
    read: u64,
}

impl Reader {
    fn run(mut self) {
        let mut events = Events::with_capacity(4);
        let mut datagrams = Datagrams::default();
        let mut has_more = false;
        while !self.shared.is_stopping.load(Ordering::Acquire) {
            let timeout = has_more.then(|| self.pause());
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "the media port cannot be waited for; no new viewer can come");
                return;
            }
            has_more |= events.iter().any(|event| event.token() == PORT);
            if has_more && self.pause().is_zero() {
                has_more = self.receive(&mut datagrams);
            }
        }
    }

    /// How long nothing is to be read because so much has been.
    fn pause(&mut self) -> Duration {
        let now = Instant::now();
        if now.saturating_duration_since(self.since) >= WINDOW {
            (self.since, self.read) = (now, 0);
        }
        if self.read < MAX_DATAGRAMS { Duration::ZERO } else { (self.since + WINDOW).saturating_duration_since(now) }
    }

    /// Reads a batch; returns whether more is waiting.
    fn receive(&mut self, datagrams: &mut Datagrams) -> bool {
        datagrams.clear();
        let received = self.udp.receive(&mut self.batch, |from, own, data| datagrams.push(from, own, data));
        match received {
            Ok(true) => {}
            Ok(false) => {
                // Whatever a peer with a socket sent before it had one has been read.
                self.handed.clear();
                return false;
            }
            Err(error) => {
                tracing::debug!(%error, "UDP receive");
                return true;
            }
        }
        let mut strays = VecDeque::new();
        for (from, own, packet) in datagrams.iter() {
            self.packet(from, own, packet, &mut strays);
        }
        while let Some((from, own, packet)) = strays.pop_front() {
            self.packet(from, own, &packet, &mut strays);
        }
        true
    }

    fn packet(
        &mut self,
        from: SocketAddr,
        own: IpAddr,
        packet: &[u8],
        strays: &mut VecDeque<(SocketAddr, IpAddr, Vec<u8>)>,
    ) {
        self.read += 1;
        count(&self.shared.counters.datagrams);
        self.shared.counters.bytes.fetch_add(packet.len() as u64, Ordering::Relaxed);
        if self.handed.contains(&(from, own)) {
            // Repeated if it mattered.
            return;
        }
        let own = SocketAddr::new(own, self.udp.address().port());
        if !can_be_peer(from) || !can_be_peer(own) || from == own {
            count(&self.shared.counters.strange);
            return;
        }
        let Some(path) = self.shared.engine_of(packet, from.ip()) else { return };
        match self.hand_over(&path, (from, own), packet, strays) {
            Ok(()) => count(&self.shared.counters.udp),
            Err(error) => {
                tracing::debug!(%error, "a peer gets no socket");
                count(&self.shared.counters.refused);
            }
        }
    }

    fn hand_over(
        &mut self,
        path: &std::path::Path,
        (peer, own): (SocketAddr, SocketAddr),
        packet: &[u8],
        strays: &mut VecDeque<(SocketAddr, IpAddr, Vec<u8>)>,
    ) -> io::Result<()> {
        let socket = udp::connected(own, peer)?;
        let mut first = Vec::with_capacity(512);
        frame(&mut first, packet);
        // Before it was connected it took everybody's datagrams.
        loop {
            let received = self.batch.receive(&socket, Kind::Connected(own.ip()), |from, to, data| {
                if from == peer {
                    frame(&mut first, data);
                } else if self.udp.takes(from.ip(), to) {
                    strays.push_back((from, to, data.to_vec()));
                }
            });
            match received {
                Ok(count) if Batch::is_full(count) => {}
                _ => break,
            }
        }
        handover::hand_udp(path, socket.as_fd(), &first)?;
        self.handed.insert((peer, own.ip()));
        Ok(())
    }
}

/// Appends a datagram with its length before it, if there is room for it.
fn frame(first: &mut Vec<u8>, datagram: &[u8]) {
    if let Ok(length) = u16::try_from(datagram.len())
        && first.len() + 2 + datagram.len() < MAX_MESSAGE
    {
        first.extend_from_slice(&length.to_be_bytes());
        first.extend_from_slice(datagram);
    }
}

/// Whether it is the address of one program: a socket connected to another one would take datagrams of many.
fn can_be_peer(address: SocketAddr) -> bool {
    let is_one = match address.ip() {
        IpAddr::V4(v4) => !v4.is_unspecified() && !v4.is_multicast() && !v4.is_broadcast(),
        // A link-local address needs the interface too.
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast() && !v6.is_unicast_link_local(),
    };
    is_one && address.port() != 0
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, path::Path};

    use super::*;
    use crate::handover::{Handed, Receiver};

    const PATIENCE: Duration = Duration::from_secs(40);

    struct Engine {
        path: PathBuf,
        receiver: Receiver,
    }

    impl Engine {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("glasshouse-door-{name}-{}", std::process::id()));
            let _ = std::fs::remove_file(&path);
            Self { receiver: Receiver::bind(&path).unwrap(), path }
        }

        fn next(&mut self) -> Handed {
            let deadline = Instant::now() + PATIENCE;
            loop {
                match self.receiver.receive() {
                    Ok(handed) => return handed.unwrap(),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
                    Err(error) => panic!("{error}"),
                }
                assert!(Instant::now() < deadline, "nothing is handed over");
            }
        }
    }

    impl Drop for Engine {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    fn open(address: &str, engines: &[(&'static str, &Path)]) -> Door {
        let paths: HashMap<_, _> = engines.iter().map(|(tag, path)| ((*tag).to_owned(), path.to_path_buf())).collect();
        Door::open(address.parse().unwrap(), move |tag| paths.get(tag).cloned()).unwrap()
    }

    fn request(tag: &str) -> Vec<u8> {
        stun::tests::request(format!("{}:there", stun::tagged(tag, "here")).as_bytes())
    }

    fn wait(what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < deadline, "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What the design rests on: the kernel gives each of many peers' datagrams to the socket that is connected to it, and
    /// strangers' to ours, whatever ours is bound to.
    #[test]
    fn each_peer_is_heard_at_its_own_socket_and_strangers_here() {
        for (address, to) in
            [("127.0.0.1:0", "127.0.0.1"), ("0.0.0.0:0", "127.0.0.1"), ("[::]:0", "127.0.0.1"), ("[::]:0", "::1")]
        {
            let mut engines = [Engine::new("one"), Engine::new("two")];
            let door = open(address, &[("aa", &engines[0].path), ("bb", &engines[1].path)]);
            let to = SocketAddr::new(to.parse().unwrap(), door.address().address.port());
            let mut handed = Vec::new();
            // Fewer than one address may have at a time.
            for index in 0..90_u32 {
                let bound = if to.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
                let peer = UdpSocket::bind(bound).unwrap();
                let engine = index as usize % 2;
                let first = request(["aa", "bb"][engine]);
                peer.send_to(&first, to).unwrap();
                let Handed::Udp { socket, peer: from, own, first: framed } = engines[engine].next() else { panic!() };
                assert_eq!((from, own), (peer.local_addr().unwrap(), to));
                assert_eq!(&framed[2..], first);
                handed.push((peer, socket));
            }
            wait("all of them are counted", || door.counts().udp == 90);
            let before = door.counts();
            assert_eq!((before.strange, before.refused), (0, 0), "{address}");
            let stranger = UdpSocket::bind(to.to_string().rsplit_once(':').unwrap().0.to_owned() + ":0").unwrap();
            for round in 0..3_u8 {
                for (index, (peer, _)) in handed.iter().enumerate() {
                    peer.send_to(&[round, index as u8], to).unwrap();
                }
                stranger.send_to(&request("cc"), to).unwrap();
                for (index, (_, socket)) in handed.iter().enumerate() {
                    let mut buffer = [0; 16];
                    wait("the peer's datagram", || socket.recv(&mut buffer).is_ok());
                    assert_eq!(buffer[..2], [round, index as u8]);
                    socket.send(&buffer[..2]).unwrap();
                }
            }
            wait("the stranger's", || door.counts().strange == 3);
            assert_eq!(door.counts().datagrams, before.datagrams + 3, "{address}: no peer's datagram came here");
            for (peer, _) in &handed {
                peer.set_read_timeout(Some(PATIENCE)).unwrap();
                assert_eq!(peer.recv_from(&mut [0; 16]).unwrap(), (2, to));
            }
            // A peer whose socket is closed is a stranger again.
            let (peer, socket) = handed.pop().unwrap();
            drop(socket);
            peer.send_to(&request("aa"), to).unwrap();
            assert!(matches!(engines[0].next(), Handed::Udp { peer: from, .. } if from == peer.local_addr().unwrap()));
        }
    }

    #[test]
    fn junk_is_counted_and_over_a_limit_there_is_nothing() {
        let mut engine = Engine::new("junk");
        let door = open("127.0.0.1:0", &[("aa", &engine.path)]);
        let to = door.address().address;
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        for junk in [&b""[..], b"x", &[0; 20], &[0x80; 1200], &request("unknown"), &request("aa")[..30]] {
            peer.send_to(junk, to).unwrap();
        }
        wait("all of it", || door.counts().strange == 6);
        assert_eq!((door.counts().datagrams, door.counts().udp), (6, 0));
        peer.send_to(&request("aa"), to).unwrap();
        assert!(matches!(engine.next(), Handed::Udp { .. }));

        let mut limits = Limits::new(Instant::now());
        let now = Instant::now();
        let ip = |number: u32| IpAddr::from(number.to_be_bytes());
        assert_eq!((0..1000).filter(|_| limits.allow("aa", ip(1), now)).count(), MAX_OF_SOURCE as usize);
        assert_eq!(
            (0..1000).filter(|n| limits.allow("aa", ip(2 + n), now)).count(),
            (MAX_OF_TAG - MAX_OF_SOURCE) as usize
        );
        assert!(limits.allow("bb", ip(2000), now), "others go on");
        assert!((0..100_000).all(|n| {
            limits.allow("cc", ip(n), now);
            limits.sources.len() <= MAX_COUNTED
        }));
        assert!(limits.allow("aa", ip(1), now + WINDOW), "and so do these, later");
        let network = |last: u16| IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last));
        assert_eq!((0..1000).filter(|n| limits.allow("v6", network(*n), now)).count(), MAX_OF_SOURCE as usize);
    }

    #[test]
    fn a_second_door_at_the_same_place_is_refused_and_one_after_it_is_not() {
        let mut engine = Engine::new("again");
        let door = open("127.0.0.1:0", &[("aa", &engine.path)]);
        let to = door.address().address;
        let second = Door::open(to, |_| None);
        assert_eq!(second.err().map(|error| error.kind()), Some(io::ErrorKind::AddrInUse));
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.send_to(&request("aa"), to).unwrap();
        let Handed::Udp { socket, .. } = engine.next() else { panic!() };
        drop(door);
        peer.send_to(b"goes on", to).unwrap();
        wait("what is sent without a door", || socket.recv(&mut [0; 16]).is_ok());
        let door = open(&to.to_string(), &[("aa", &engine.path)]);
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        other.send_to(&request("aa"), to).unwrap();
        assert!(matches!(engine.next(), Handed::Udp { peer, .. } if peer == other.local_addr().unwrap()));
        peer.send_to(b"goes on", to).unwrap();
        wait("what is sent with another", || socket.recv(&mut [0; 16]).is_ok());
        assert_eq!(door.counts().datagrams, 1);
        // A port that a stranger has is refused, too.
        let taken = UdpSocket::bind("0.0.0.0:0").unwrap();
        let address = SocketAddr::new("127.0.0.1".parse().unwrap(), taken.local_addr().unwrap().port());
        assert!(Door::open(address, |_| None).is_err());
    }

    #[tokio::test]
    async fn connections_are_handed_over_with_what_they_began_with() {
        use tokio::io::AsyncWriteExt;
        let mut engine = Engine::new("tcp");
        let door = open("127.0.0.1:0", &[("aa", &engine.path)]);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connect = async || {
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            door.accept_tcp(listener.accept().await.unwrap().0);
            client
        };
        let mut framed = Vec::new();
        frame(&mut framed, &request("aa"));
        let mut client = connect().await;
        for part in framed.chunks(7) {
            client.write_all(part).await.unwrap();
            tokio::task::yield_now().await;
        }
        let taken = tokio::task::spawn_blocking(move || (engine.next(), engine)).await.unwrap();
        assert!(matches!(&taken.0, Handed::Tcp { first, .. } if *first == framed));
        // One that names nobody is closed.
        let mut stranger = connect().await;
        let mut framed = Vec::new();
        frame(&mut framed, &request("zz"));
        stranger.write_all(&framed).await.unwrap();
        assert_eq!(tokio::time::timeout(PATIENCE, stranger.read(&mut [0; 8])).await.unwrap().unwrap(), 0);
        let counts = door.counts();
        assert_eq!((counts.tcp, counts.strange, counts.udp), (1, 1, 0));
    }
}
