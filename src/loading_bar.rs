//! A bar on the terminal while the data is loaded: for people, and never where the log goes to a
//! file or a pipe.
//!
//! The log goes on writing lines meanwhile; the bar makes way for them.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use redouble::server::Server;
use redouble::server_log::Logger;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two looks at how far the load has come.
const LOOK: Duration = Duration::from_millis(100);
/// The bar counts tenths of a percent.
const WHOLE: u64 = 1000;

/// A bar that is drawn until it is dropped.
pub struct LoadingBar {
    bar: ProgressBar,
    is_over: Arc<AtomicBool>,
    log: Arc<Logger>,
    thread: Option<JoinHandle<()>>,
}

impl LoadingBar {
    /// Draws one, if somebody sits before a terminal.
    pub fn draw(server: &Server, log: &Arc<Logger>) -> Option<LoadingBar> {
        if !std::io::stdout().is_terminal() || !log.is_on_stdout() {
            return None;
        }
        let bar = ProgressBar::with_draw_target(Some(WHOLE), ProgressDrawTarget::stdout());
        bar.set_style(ProgressStyle::with_template("[{bar:40}] {msg}").ok()?);
        let shy = bar.clone();
        log.write_within(Some(Box::new(move |write| shy.suspend(write))));
        let is_over = Arc::new(AtomicBool::new(false));
        let (server, drawn, over) = (server.clone(), bar.clone(), is_over.clone());
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                follow(&server, &drawn);
                std::thread::sleep(LOOK);
            }
        });
        Some(LoadingBar { bar, is_over, log: log.clone(), thread: Some(thread) })
    }
}

fn follow(server: &Server, bar: &ProgressBar) {
    let loading = server.shared().lock().persistence.loading.clone();
    // Before the files are opened nobody knows how much there is.
    let Some(loading) = loading.filter(|loading| loading.total_bytes > 0) else { return };
    let percent = loading.percent().min(100.0);
    let speed = loading.headway.megabytes_per_s(loading.loaded_bytes);
    bar.set_message(format!("{percent:.1}%, {} keys, {speed:.1} MB/s", loading.keys));
    bar.set_position((percent * WHOLE as f64 / 100.0) as u64);
}

impl Drop for LoadingBar {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.log.write_within(None);
        self.bar.finish_and_clear();
    }
}
