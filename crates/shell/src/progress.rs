//! A line on stderr that shows that something takes its time: only after a second, only on a terminal.
//! Source: the house's habit that nobody waits in the dark.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What takes less is not shown.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two pictures.
const EVERY: Duration = Duration::from_millis(125);
const PICTURES: [char; 4] = ['|', '/', '-', '\\'];
/// The longest text: a line that wraps cannot be wiped.
const TEXT_CHARS_MAX: usize = 60;
/// To the beginning of the line, and wipe it.
const WIPE: &str = "\r\u{1b}[K";

/// Something that is under way. Dropping it wipes its line.
#[derive(Debug)]
pub struct Progress(Option<Drawing>);

#[derive(Debug)]
struct Drawing {
    texts: Sender<String>,
    thread: JoinHandle<()>,
}

impl Progress {
    /// Begins; nothing is ever shown with `--json`, and nothing unless stderr is a terminal that can wipe a line.
    #[must_use]
    pub fn start(text: &str, json: bool) -> Self {
        let able = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
        let shown = !json && able && io::stderr().is_terminal();
        Self::start_on(io::stderr(), text, shown, PATIENCE)
    }

    /// Says what is being done now.
    pub fn say(&self, text: &str) {
        if let Some(drawing) = &self.0 {
            // The other side ends only when the terminal is gone.
            let _ = drawing.texts.send(text.to_owned());
        }
    }

    /// Ends it; the line is wiped when this returns.
    pub fn finish(self) {
        drop(self);
    }

    fn start_on(to: impl Write + Send + 'static, text: &str, shown: bool, patience: Duration) -> Self {
        let (texts, received) = channel();
        let text = text.to_owned();
        let thread = shown.then(|| {
            let name = "progress".to_owned();
            thread::Builder::new().name(name).spawn(move || draw(to, text, &received, patience))
        });
        // Without a thread there is no picture, and that is all.
        let thread = thread.and_then(Result::ok);
        Self(thread.map(|thread| Drawing { texts, thread }))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(Drawing { texts, thread }) = self.0.take() {
            drop(texts);
            let _ = thread.join();
        }
    }
}

/// Draws until the sender is gone or the terminal is.
fn draw(mut to: impl Write, mut text: String, texts: &Receiver<String>, patience: Duration) {
    let begin = Instant::now();
    let mut drawn = false;
    for picture in PICTURES.into_iter().cycle() {
        let wait = if drawn { EVERY } else { patience.saturating_sub(begin.elapsed()) };
        match texts.recv_timeout(wait) {
            Ok(now) => text = now,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if begin.elapsed() < patience {
            continue;
        }
        drawn = true;
        let line = line(picture, &text, begin.elapsed());
        if write!(to, "{WIPE}{line}").and_then(|()| to.flush()).is_err() {
            return;
        }
    }
    if drawn {
        let _ = write!(to, "{WIPE}").and_then(|()| to.flush());
    }
}

fn line(picture: char, text: &str, elapsed: Duration) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect();
    format!("{picture} {text} ({} s)", elapsed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Screen(Sender<String>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(String::from_utf8(bytes.to_vec()).unwrap()).unwrap();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_drawn_changed_and_wiped() {
        let (screen, seen) = channel();
        let progress = Progress::start_on(Screen(screen), "asking the bank", true, Duration::ZERO);
        let until = |wanted: &str| while !seen.recv().unwrap().contains(wanted) {};
        until("asking the bank");
        progress.say("waiting for the transfer");
        until("waiting for the transfer");
        progress.finish();
        assert_eq!(seen.iter().last().unwrap(), WIPE);
    }

    #[test]
    fn what_is_quick_or_not_to_be_shown_leaves_no_trace() {
        for (shown, patience) in [(true, Duration::from_secs(3600)), (false, Duration::ZERO)] {
            let (screen, seen) = channel();
            let progress = Progress::start_on(Screen(screen), "quick", shown, patience);
            progress.say("still quick");
            progress.finish();
            assert_eq!(seen.iter().count(), 0);
        }
    }

    #[test]
    fn a_line_fits_and_cannot_be_broken() {
        let drawn = line('|', &format!("a\n\u{1b}[2J{}", "x".repeat(500)), Duration::from_millis(2999));
        assert!(drawn.chars().count() < 80 && !drawn.chars().any(char::is_control), "{drawn:?}");
        assert!(drawn.ends_with("(2 s)"));
    }
}
