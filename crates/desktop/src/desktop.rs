//! The desktop as its users see it.

use std::{
    ffi::OsString,
    net::TcpStream,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
        mpsc,
    },
    time::Duration,
};

use glasshouse_sandbox::Usage;
use tokio::sync::oneshot;

use crate::{
    Config, Cursor, Display, Error, Input, KeyboardMap, KeyboardModifiers, Launch, Launched, MAX_SIZE, MIN_SIZE,
    ProgramState, Size, keeper,
    programs::{self, CommandLine},
    supervisor::{Board, Msg, Sink, Supervisor},
    user::{User, run_as},
    walls::Standing,
    x::{
        Link, Worker,
        clipboard::{self, Clipboard, Commands, Selection, What},
        control::Control,
        cursor::Cursors,
        input::{Injector, Queue},
        thumbnail::{self, Thumbnail},
        watch::{Seen, Watch},
    },
};

/// How long a request to the X server or a helper program may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// Most bytes of text and HTML that the clipboard takes.
const MAX_CLIPBOARD: usize = 16 * 1024 * 1024;

/// Sizes offered in a menu, largest first.
const SIZES: [(u16, u16); 13] = [
    (3840, 2160),
    (2560, 1440),
    (1920, 1200),
    (1920, 1080),
    (1680, 1050),
    (1600, 900),
    (1440, 900),
    (1366, 768),
    (1280, 800),
    (1280, 720),
    (1024, 768),
    (960, 720),
    (800, 600),
];

/// A running desktop. Dropping it ends every program on it.
pub struct Desktop {
    link: Arc<Link>,
    seen: Arc<Seen>,
    queue: Arc<Queue>,
    commands: Arc<Commands>,
    control: Arc<Control>,
    supervisor: mpsc::Sender<Msg>,
    board: Board,
    pub(crate) walls: Option<Arc<Standing>>,
    devtools: Option<Arc<AtomicU16>>,
    /// Threads with connections to the display: pointer and screen, input, clipboard.
    watch: Option<Worker>,
    injector: Option<Worker>,
    clipboard: Option<Worker>,
    xauthority: Option<PathBuf>,
    sound_fifo: Option<PathBuf>,
    rfb_socket: Option<PathBuf>,
    downloads: PathBuf,
    downloads_inside: PathBuf,
    /// Folder with the logs of the programs.
    pub(crate) logs: PathBuf,
    home: PathBuf,
    home_inside: PathBuf,
    user: Option<User>,
}

impl std::fmt::Debug for Desktop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desktop").field("display", &self.display()).finish_non_exhaustive()
    }
}

impl Desktop {
    /// Starts the display and everything on it; returns when the X server, the window manager and the sound device are
    /// ready and the app has been started. `events` is called from the desktop's threads and must not block.
    ///
    /// # Errors
    /// Something is missing, or does not start; nothing is left running then.
    pub async fn start(config: Config, events: Arc<dyn Fn(crate::Event) + Send + Sync>) -> Result<Self, Error> {
        if let Display::Own(size) = &config.display {
            check_size(*size)?;
        }
        tokio::task::spawn_blocking(move || Self::start_blocking(&config, &events))
            .await
            .unwrap_or_else(|e| Err(std::io::Error::other(e).into()))
    }

    /// A dropped supervisor or desktop ends what was started so far.
    fn start_blocking(config: &Config, events: &Sink) -> Result<Self, Error> {
        let mut supervisor = Supervisor::new(config, Arc::clone(events))?;
        let link = supervisor.start_display(config)?;
        // After the display, for which all others wait, and which it would take the processor from.
        supervisor.start_sound(config)?;
        supervisor.start_window_manager(config)?;
        let (seen, queue, commands) = (Arc::<Seen>::default(), Arc::<Queue>::default(), Arc::<Commands>::default());
        let control = Arc::new(Control::new(Arc::clone(&link))?);
        seen.set_size(control.size()?);
        let restoring = Arc::clone(&control);
        supervisor.when_display_is_back(move || restoring.restore());
        let mut desktop = Self {
            control,
            supervisor: supervisor.sender(),
            board: supervisor.board(),
            walls: supervisor.walls(),
            devtools: supervisor.devtools(),
            watch: None,
            injector: None,
            clipboard: None,
            xauthority: supervisor.xauthority().map(Path::to_path_buf),
            sound_fifo: config.sound.then(|| supervisor.dir.sound_fifo()),
            rfb_socket: matches!(config.display, Display::Own(_)).then(|| supervisor.dir.rfb_socket()),
            downloads: supervisor.dir.downloads(),
            downloads_inside: supervisor.dir.inside(&supervisor.dir.downloads()),
            logs: supervisor.dir.logs(),
            home: supervisor.dir.home(),
            home_inside: supervisor.dir.inside(&supervisor.dir.home()),
            user: supervisor.dir.user(),
            link,
            seen,
            queue,
            commands,
        };
        desktop.start_workers(events)?;
        supervisor.start_app(config)?;
        std::thread::Builder::new().name("supervisor".into()).spawn(move || supervisor.run())?;
        Ok(desktop)
    }

    fn start_workers(&mut self, events: &Sink) -> Result<(), Error> {
        let failed =
            |e: crate::x::XError| Error::Display { display: self.link.display().into(), reason: e.to_string() };
        let watch = Watch {
            seen: Arc::clone(&self.seen),
            events: Arc::clone(events),
            supervisor: self.supervisor.clone(),
            cursors: Cursors::default(),
        };
        let injector = Injector::new(Arc::clone(&self.queue), Arc::clone(&self.seen));
        let clipboard = Clipboard { commands: Arc::clone(&self.commands), events: Arc::clone(events) };
        self.watch = Some(Worker::start("x-watch", &self.link, watch).map_err(failed)?);
        self.injector = Some(Worker::start("x-input", &self.link, injector).map_err(failed)?);
        self.clipboard = Some(Worker::start("x-clipboard", &self.link, clipboard).map_err(failed)?);
        Ok(())
    }

    /// X display name, such as `:5`.
    pub fn display(&self) -> &str {
        self.link.display()
    }

    /// Cookie file of the display, if it needs one.
    pub fn xauthority(&self) -> Option<&Path> {
        self.xauthority.as_deref()
    }

    /// FIFO with the desktop's sound (48 kHz, stereo, s16le), when there is sound.
    pub fn sound_fifo(&self) -> Option<&Path> {
        self.sound_fifo.as_deref()
    }

    /// Unix socket of the X server's own RFB server (Xvnc), when the display is our own.
    pub fn rfb_socket(&self) -> Option<&Path> {
        self.rfb_socket.as_deref()
    }

    /// Folder for downloads and uploads. The programs can place links in it: open what is in it without following them.
    pub fn downloads(&self) -> &Path {
        &self.downloads
    }

    /// The same folder as the programs see it.
    pub fn downloads_inside(&self) -> &Path {
        &self.downloads_inside
    }

    /// The listeners of the way out, bound within the walls, for [`glasshouse_sandbox::egress`]; once.
    pub fn take_listeners(&self) -> Vec<OwnedFd> {
        self.walls.as_ref().map(|walls| walls.take_listeners()).unwrap_or_default()
    }

    /// Opens a connection to the DevTools port of the desktop's Chromium, from within the walls if there are any. Wakes a
    /// frozen desktop.
    ///
    /// # Errors
    /// The app is no Chromium with our flags and DevTools, or it does not listen, yet or any more.
    pub async fn devtools(&self) -> std::io::Result<TcpStream> {
        if self.devtools.as_ref().is_none_or(|port| port.load(Ordering::Acquire) == 0) {
            return Err(std::io::Error::other("the app is no Chromium with DevTools"));
        }
        self.wake();
        let (ours, theirs) = keeper::pair()?;
        let gone = || std::io::Error::other("the desktop has ended");
        self.supervisor.send(Msg::DevTools(theirs)).map_err(|_| gone())?;
        tokio::task::spawn_blocking(move || keeper::wait_for_connection(&ours)).await.map_err(|_| gone())?
    }

    /// Stops every program until [`Desktop::thaw`], input, or anything else that needs one of them.
    ///
    /// # Errors
    /// There are no walls, or a program cannot be stopped.
    pub async fn freeze(&self) -> Result<(), Error> {
        self.sleep(true).await
    }

    /// Lets every program go on.
    ///
    /// # Errors
    /// There are no walls, or the kernel refuses.
    pub async fn thaw(&self) -> Result<(), Error> {
        self.sleep(false).await
    }

    async fn sleep(&self, asleep: bool) -> Result<(), Error> {
        let (done, answer) = oneshot::channel();
        let _ = self.supervisor.send(Msg::Sleep(asleep, Some(done)));
        self.answer(answer).await?
    }

    /// Whether the programs are frozen.
    pub fn is_asleep(&self) -> bool {
        self.walls.as_ref().is_some_and(|walls| walls.is_asleep())
    }

    /// Lets the programs go on, if they are frozen, and does not wait for it.
    pub fn wake(&self) {
        if self.is_asleep() {
            let _ = self.supervisor.send(Msg::Sleep(false, None));
        }
    }

    /// What is used within the walls.
    pub fn usage(&self) -> Option<Usage> {
        self.walls.as_ref()?.usage()
    }

    /// Queues input; injected in order, at once, never lost. Wakes a frozen desktop.
    pub fn input(&self, input: Input) {
        // Nobody did anything when keys are let go of: that is done when it wakes.
        if input != Input::ReleaseAll {
            self.wake();
        }
        self.queue.push(input);
        if let Some(injector) = &self.injector {
            injector.waker().wake();
        }
    }

    /// Hands [fine scrolling](Input::Fine) to somebody who may be able to do it; once. What is held back by Control or a button
    /// that is down goes by wheel clicks.
    pub fn attach_scroller(&self, scroller: crate::Scroller) {
        self.queue.attach_scroller(scroller);
    }

    /// Waits until all input so far has been handed to the display.
    ///
    /// # Errors
    /// The display does not answer, or was restarted.
    pub async fn input_done(&self) -> Result<(), Error> {
        let done = self.queue.barrier();
        if let Some(injector) = &self.injector {
            injector.waker().wake();
        }
        self.answer(done).await
    }

    /// Whether the programs are within walls.
    pub fn is_enclosed(&self) -> bool {
        self.walls.is_some()
    }

    /// HOME of the programs. They can place links in it: open what is in it without following them, and with
    /// [`Desktop::as_programs`].
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The same folder as the programs see it.
    pub fn home_inside(&self) -> &Path {
        &self.home_inside
    }

    /// Does something with the rights that the programs have on files. Blocks.
    ///
    /// # Errors
    /// Those of the work.
    pub fn as_programs<T: Send>(&self, work: impl FnOnce() -> std::io::Result<T> + Send) -> std::io::Result<T> {
        run_as(self.user, work)
    }

    /// Starts a program beside the app, within the same walls, with the same limits and environment. Wakes a frozen
    /// desktop. The program ends with the desktop.
    ///
    /// # Errors
    /// There is no such program, or it cannot be started.
    pub async fn launch(&self, launch: Launch) -> Result<Launched, Error> {
        self.wake();
        let (done, answer) = oneshot::channel();
        let _ = self.supervisor.send(Msg::Launch(launch, done));
        self.answer(answer).await?
    }

    /// Ends the browser and starts it again, with these further flags in place of those of its last start; returns when its
    /// process has been started. Wakes a frozen desktop. Its pages are not opened again, but for the first one.
    ///
    /// # Errors
    /// The app is no browser, or it cannot be started.
    pub async fn restart_app(&self, flags: Vec<OsString>) -> Result<(), Error> {
        self.wake();
        let (done, answer) = oneshot::channel();
        let _ = self.supervisor.send(Msg::Restart(flags, done));
        self.answer(answer).await?
    }

    /// Port of the browser's DevTools on the loopback of the programs, if it has one.
    pub fn devtools_port(&self) -> Option<u16> {
        self.devtools.as_ref().map(|port| port.load(Ordering::Acquire)).filter(|port| *port != 0)
    }

    /// Sends a signal to a program of [`Desktop::launch`] and its process group, if it still runs. Wakes a frozen desktop,
    /// and does not wait.
    pub fn signal(&self, id: u32, signal: i32) {
        self.wake();
        let _ = self.supervisor.send(Msg::Signal(id, signal));
    }

    /// Opens a terminal that has a name for the programs: our end, which does not block, and the program's.
    ///
    /// # Errors
    /// There are too many, or the desktop has ended.
    pub async fn terminal(&self) -> std::io::Result<(OwnedFd, OwnedFd)> {
        self.wake();
        let (ours, theirs) = keeper::pair()?;
        let gone = || std::io::Error::other("the desktop has ended");
        self.supervisor.send(Msg::Terminal(theirs)).map_err(|_| gone())?;
        let (ours, theirs) =
            tokio::task::spawn_blocking(move || keeper::wait_for_terminal(&ours)).await.map_err(|_| gone())??;
        rustix::io::ioctl_fionbio(&ours, true)?;
        Ok((ours, theirs))
    }

    /// Current screen size.
    pub fn size(&self) -> Size {
        self.seen.size()
    }

    /// Changes the screen size, in pixels from [`MIN_SIZE`] to [`MAX_SIZE`], exactly as asked, and the scale in per cent (100–400)
    /// that toolkits should draw at. Returns the size in effect.
    ///
    /// # Errors
    /// The values are out of range, or the display cannot change its size.
    pub async fn resize(&self, size: Size, scale_percent: u16) -> Result<Size, Error> {
        check_size(size)?;
        if !(100..=400).contains(&scale_percent) {
            return Err(Error::Invalid(format!("scale {scale_percent} % is not within 100–400 %")));
        }
        self.ask(move |control| control.resize(size, scale_percent)).await
    }

    /// Sizes to offer in a menu: common ones and the current one, largest first.
    pub fn sizes(&self) -> Vec<Size> {
        let mut sizes: Vec<Size> = SIZES.map(|(width, height)| Size { width, height }).into();
        let current = self.size();
        if !sizes.contains(&current) {
            sizes.push(current);
        }
        sizes.sort_by_key(|size| std::cmp::Reverse(u32::from(size.width) * u32::from(size.height)));
        sizes
    }

    /// The screen as JPEG, quality 1–100.
    ///
    /// # Errors
    /// The display does not answer.
    pub async fn screenshot_jpeg(&self, quality: u8) -> Result<Vec<u8>, Error> {
        let quality = quality.clamp(1, 100);
        self.ask(move |control| {
            let (size, pixels) = control.picture()?;
            let mut jpeg = Vec::new();
            jpeg_encoder::Encoder::new(&mut jpeg, quality)
                .encode(&pixels, size.width, size.height, jpeg_encoder::ColorType::Bgra)
                .map_err(|e| std::io::Error::other(e.to_string()))?;
            Ok(jpeg)
        })
        .await
    }

    /// The screen made small, at most `width` pixels wide. Wakes a frozen desktop, like every question to its display.
    ///
    /// # Errors
    /// The display does not answer.
    pub async fn thumbnail(&self, width: u16, known: Option<u64>) -> Result<Thumbnail, Error> {
        self.ask(move |control| {
            let (size, pixels) = control.picture()?;
            Ok(thumbnail::make(size, &pixels, width, known)?)
        })
        .await
    }

    /// The pointer's image now.
    pub fn cursor(&self) -> Option<Arc<Cursor>> {
        self.seen.cursor()
    }

    /// Text in the clipboard; empty when there is none. At most 16 MiB.
    ///
    /// # Errors
    /// The program that owns the clipboard does not answer, or it holds more.
    pub async fn clipboard_text(&self) -> Result<String, Error> {
        Ok(text(self.read(What::Text).await?))
    }

    /// HTML in the clipboard; empty when there is none. At most 16 MiB.
    ///
    /// # Errors
    /// The program that owns the clipboard does not answer, or it holds more.
    pub async fn clipboard_html(&self) -> Result<String, Error> {
        Ok(text(self.read(What::Html).await?))
    }

    /// Picture in the clipboard as PNG, when there is one. At most 64 MiB.
    ///
    /// # Errors
    /// The program that owns the clipboard does not answer, or it holds more.
    pub async fn clipboard_png(&self) -> Result<Option<Vec<u8>>, Error> {
        self.read(What::Png).await
    }

    /// Owns the clipboard with text, HTML, or both; empties it with neither.
    ///
    /// # Errors
    /// It is more than 16 MiB, or the display does not answer.
    pub async fn set_clipboard(&self, text: Option<String>, html: Option<String>) -> Result<(), Error> {
        check_clipboard(&text)?;
        check_clipboard(&html)?;
        let (done, answer) = oneshot::channel();
        self.command(clipboard::Command::Set { selection: Selection::Clipboard, text, html, done });
        self.answer(answer).await
    }

    /// Keyboard layout in effect.
    ///
    /// # Errors
    /// The display does not answer.
    pub async fn keyboard_map(&self) -> Result<KeyboardMap, Error> {
        self.ask(Control::keyboard_map).await
    }

    /// Changes the keyboard layout (`setxkbmap`).
    ///
    /// # Errors
    /// There is no such layout, or `setxkbmap` is not installed.
    pub async fn set_keyboard_map(&self, map: KeyboardMap) -> Result<(), Error> {
        let name = |name: &str| {
            name.len() <= 64
                && !name.starts_with('-')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-,()".contains(c))
        };
        if map.layout.is_empty() || !name(&map.layout) || !name(&map.variant) {
            return Err(Error::Invalid(format!("no such keyboard layout: {:?} {:?}", map.layout, map.variant)));
        }
        let program = programs::find("setxkbmap".as_ref(), "x11-xkb-utils")?;
        self.wake();
        let line = CommandLine::new(program, ["-layout", &map.layout, "-variant", &map.variant]);
        let (done, answer) = oneshot::channel();
        let _ = self.supervisor.send(Msg::Run(line, done));
        self.answer(answer)
            .await?
            .map_err(|reason| Error::Invalid(format!("keyboard layout {} {}: {reason}", map.layout, map.variant)))
    }

    /// Modifiers in effect.
    ///
    /// # Errors
    /// The display does not answer.
    pub async fn keyboard_modifiers(&self) -> Result<KeyboardModifiers, Error> {
        self.ask(Control::modifiers).await
    }

    /// Locks or unlocks modifiers.
    ///
    /// # Errors
    /// The display does not answer.
    pub async fn set_keyboard_modifiers(&self, modifiers: KeyboardModifiers) -> Result<(), Error> {
        self.ask(move |control| control.set_modifiers(modifiers)).await
    }

    /// State of every supervised program.
    pub fn programs(&self) -> Vec<(&'static str, ProgramState, String)> {
        self.board.lock().clone()
    }

    /// Ends the app, the desktop and the X server, and removes what is throwaway; returns when all are gone. For a desktop
    /// that is shared; its threads end by themselves.
    pub async fn end(&self) {
        let (done, answer) = oneshot::channel();
        // Without a supervisor, everything has ended already.
        if self.supervisor.send(Msg::Stop(Some(done))).is_ok() {
            let _ = answer.await;
        }
        self.link.close();
    }

    /// [`Desktop::end`], and waits for the threads too.
    pub async fn stop(mut self) {
        self.end().await;
        let workers: Vec<Worker> =
            [self.watch.take(), self.injector.take(), self.clipboard.take()].into_iter().flatten().collect();
        let joined = tokio::task::spawn_blocking(move || workers.into_iter().for_each(Worker::join));
        // A display of somebody else's that is stuck keeps its threads.
        let _ = tokio::time::timeout(PATIENCE, joined).await;
    }

    /// Asks the display something, off the caller's thread.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Control) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.wake();
        let control = Arc::clone(&self.control);
        match tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(move || question(&control))).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(e)) => Err(std::io::Error::other(e).into()),
            Err(_) => Err(self.silent()),
        }
    }

    async fn read(&self, what: What) -> Result<Option<Vec<u8>>, Error> {
        let (done, answer) = oneshot::channel();
        self.command(clipboard::Command::Read(Selection::Clipboard, what, done));
        self.answer(answer).await?.map_err(Error::Invalid)
    }

    pub(crate) fn command(&self, command: clipboard::Command) {
        self.wake();
        self.commands.push(command);
        if let Some(clipboard) = &self.clipboard {
            clipboard.waker().wake();
        }
    }

    pub(crate) async fn answer<T>(&self, answer: oneshot::Receiver<T>) -> Result<T, Error> {
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(self.silent()),
        }
    }

    fn silent(&self) -> Error {
        Error::Display { display: self.display().into(), reason: "it does not answer".into() }
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        let _ = self.supervisor.send(Msg::Stop(None));
        self.link.close();
        for worker in [&self.watch, &self.injector, &self.clipboard].into_iter().flatten() {
            worker.waker().wake();
        }
    }
}

pub(crate) fn text(data: Option<Vec<u8>>) -> String {
    data.map(|data| String::from_utf8_lossy(&data).into_owned()).unwrap_or_default()
}

pub(crate) fn check_clipboard(content: &Option<String>) -> Result<(), Error> {
    if content.as_ref().is_some_and(|content| content.len() > MAX_CLIPBOARD) {
        return Err(Error::Invalid("the clipboard takes at most 16 MiB".into()));
    }
    Ok(())
}

fn check_size(size: Size) -> Result<(), Error> {
    let fits = (MIN_SIZE.width..=MAX_SIZE.width).contains(&size.width)
        && (MIN_SIZE.height..=MAX_SIZE.height).contains(&size.height);
    if fits {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "screen size {}x{} is not within {}x{} and {}x{}",
        size.width, size.height, MIN_SIZE.width, MIN_SIZE.height, MAX_SIZE.width, MAX_SIZE.height
    )))
}
