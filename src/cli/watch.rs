//! `weir watch`: the picture that fills a terminal; elsewhere a line for each change.

pub(super) mod meters;
mod picture;
mod scene;
mod terminal;

use std::env;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::client::{AskError, Client};
use super::{follow, orders, print};
use crate::admin::api::{History, Kind, Log, Status, Whoami};
use crate::rollout::Order;
use picture::Palette;
use scene::{Act, Asker, News, Said, Scene};
use terminal::Screen;

/// How often the program is asked.
const STEP: Duration = Duration::from_secs(1);

/// In how many of these the curves are asked for: they have a new point every five seconds.
const CURVES_EVERY: u32 = 3;

/// Records of the journal that are asked for at first.
const RECORDS: usize = 100;

/// What may wait to be drawn: keys that are held down, and answers.
const NEWS_MAX: usize = 64;

/// What a shell says of a program that `Ctrl-C` ended, and of one that was told to end.
const INTERRUPTED: u8 = 130;
/// The other.
const TERMINATED: u8 = 143;

/// Watches until a key or a signal ends it; the exit code.
pub(super) async fn watch(client: Client) -> anyhow::Result<u8> {
    let is_dumb = env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    if !print::is_seen() || is_dumb {
        return follow::watch(&client).await.map(|()| 0);
    }
    let Ok(screen) = Screen::take() else {
        return follow::watch(&client).await.map(|()| 0);
    };
    let (sender, news) = mpsc::channel(NEWS_MAX);
    keys(sender.clone());
    Watch { client: Arc::new(client.silent()), sender, wake: Arc::default(), screen }
        .run(news)
        .await
}

struct Watch {
    client: Arc<Client>,
    sender: Sender<News>,
    /// Has the program asked at once.
    wake: Arc<Notify>,
    screen: Screen,
}

/// What the loop goes on for.
enum Next {
    Continued,
    End(u8),
    News(News),
}

impl Watch {
    async fn run(mut self, mut news: Receiver<News>) -> anyhow::Result<u8> {
        let mut scene = Scene::new(self.client.address().to_owned());
        let palette = Palette::of(env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty()));
        let (mut terminate, mut interrupt, mut hang_up, mut go_on) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
            signal(SignalKind::from_raw(libc::SIGCONT))?,
        );
        tokio::spawn(poll(self.client.clone(), self.sender.clone(), self.wake.clone()));
        loop {
            // A terminal that is gone is nobody who looks on.
            if self.screen.draw(|frame| picture::draw(frame, &scene, &palette)).is_err() {
                return Ok(0);
            }
            let next = tokio::select! {
                biased;
                _ = terminate.recv() => Next::End(TERMINATED),
                _ = interrupt.recv() => Next::End(INTERRUPTED),
                _ = hang_up.recv() => Next::End(0),
                _ = go_on.recv() => Next::Continued,
                news = news.recv() => news.map_or(Next::End(0), Next::News),
            };
            let act = match next {
                Next::End(code) => return Ok(code),
                Next::Continued => {
                    self.screen.again()?;
                    Act::Nothing
                }
                Next::News(news) => scene.take(news),
            };
            match act {
                Act::Give(order) => self.give(order, &mut scene),
                Act::Nothing => {}
                Act::Quit { interrupted } => return Ok(if interrupted { INTERRUPTED } else { 0 }),
                Act::Suspend => self.screen.suspend()?,
            }
        }
    }

    /// Gives an order; its answer is news.
    fn give(&self, order: Order, scene: &mut Scene) {
        let said = Said { text: "…".into(), is_trouble: false };
        scene.said = Some(said);
        let (client, sender, wake) = (self.client.clone(), self.sender.clone(), self.wake.clone());
        tokio::spawn(async move {
            let said = match orders::told(&client, &order).await {
                Ok(sentences) => Said { text: sentences.join("  "), is_trouble: false },
                Err(error) => Said { text: format!("{error:#}"), is_trouble: true },
            };
            let _ = sender.send(News::Said(said)).await;
            wake.notify_one();
        });
    }
}

/// Has what is typed become news. Reading waits, so it has a thread of its own, which ends with
/// the process.
fn keys(sender: Sender<News>) {
    thread::spawn(move || {
        loop {
            let news = match event::read() {
                Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => News::Key(key),
                Ok(Event::Resize(..)) => News::Resized,
                Ok(_) => continue,
                Err(_) => News::Closed,
            };
            let is_end = matches!(news, News::Closed);
            if sender.blocking_send(news).is_err() || is_end {
                return;
            }
        }
    });
}

/// Asks the program again and again.
async fn poll(client: Arc<Client>, sender: Sender<News>, wake: Arc<Notify>) {
    let mut poll = Poll { client, sender, latest: None, round: 0 };
    loop {
        match poll.once().await {
            Ok(()) => poll.round += 1,
            Err(error) => {
                let _ = poll.sender.send(News::Lost(format!("{error:#}"))).await;
                // Whoever answers next may know other tokens.
                poll.round = 0;
            }
        }
        let _ = tokio::time::timeout(STEP, wake.notified()).await;
    }
}

struct Poll {
    client: Arc<Client>,
    sender: Sender<News>,
    /// The newest record that was seen.
    latest: Option<u64>,
    round: u32,
}

impl Poll {
    async fn once(&mut self) -> anyhow::Result<()> {
        let status: Status = self.client.get("/api/v1/status").await?;
        let _ = self.sender.send(News::Status(Box::new(status))).await;
        if self.round == 0 {
            let _ = self.sender.send(News::Asker(self.asker().await?)).await;
        }
        self.records().await?;
        if self.round.is_multiple_of(CURVES_EVERY) {
            // A program that knows no curves is watched without them.
            if let Ok(curves) = self.client.get::<History>("/api/v1/history?span=15m").await {
                let _ = self.sender.send(News::Curves(curves)).await;
            }
        }
        Ok(())
    }

    async fn asker(&self) -> anyhow::Result<Asker> {
        match self.client.get::<Whoami>("/api/v1/whoami").await {
            Ok(whoami) => Ok(Asker::Known(whoami)),
            Err(error) => match error.downcast_ref() {
                Some(AskError::Trouble { trouble, .. }) if trouble.kind == Kind::Unauthorised => {
                    Ok(Asker::Nobody)
                }
                _ => Err(error),
            },
        }
    }

    async fn records(&mut self) -> anyhow::Result<()> {
        let newest = format!("/api/v1/log?limit={RECORDS}");
        let mut anew = self.latest.is_none();
        let path = match self.latest {
            None => newest.clone(),
            Some(latest) => format!("/api/v1/log?after={latest}"),
        };
        let mut log: Log = self.client.get(&path).await?;
        // A journal in memory begins anew when the program does.
        if self.latest.is_some_and(|latest| log.latest < latest) {
            log = self.client.get(&newest).await?;
            anew = true;
        }
        let Log { records, latest, zone: _ } = log;
        self.latest = Some(records.last().map_or(latest, |shown| shown.record.seq));
        if anew || !records.is_empty() {
            let _ = self.sender.send(News::Records { records, anew }).await;
        }
        Ok(())
    }
}
