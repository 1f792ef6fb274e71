//! Being woken when a lock is released, on servers without a queue: one subscribing connection per client.
//!
//! ```text
//! sleeper ── Subscription ──┐                     ┌── redstart:lock:{a}
//! sleeper ── Subscription ──┼── Wakeups ── task ──┤
//! sleeper ── Subscription ──┘                     └── redstart:lock:{b}
//! ```
//!
//! A channel is subscribed to while someone sleeps for it and not longer. A message wakes one sleeper of this client;
//! the others would only come too late. Wake-ups are a help: whoever misses one checks again by its own schedule.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use redis::Client;
use redis::aio::{PubSubSink, PubSubStream};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

/// How long the connection is kept when nobody sleeps.
const KEPT_IDLE: Duration = Duration::from_secs(2);

/// The pause before a lost connection is made again.
const PAUSE: Duration = Duration::from_millis(500);

/// Who sleeps for which channel.
#[derive(Debug, Default)]
pub(crate) struct Wakeups {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    channels: BTreeMap<Vec<u8>, Channel>,
    task: Option<(UnboundedSender<Order>, JoinHandle<()>)>,
}

#[derive(Debug)]
struct Channel {
    sleepers: usize,
    woken: Arc<Notify>,
}

#[derive(Debug)]
enum Order {
    Subscribe(Vec<u8>),
    Unsubscribe(Vec<u8>),
}

/// One sleeper's share in a channel; dropping it gives the share up.
#[derive(Debug)]
pub(crate) struct Subscription {
    wakeups: Arc<Wakeups>,
    channel: Vec<u8>,
    woken: Arc<Notify>,
}

impl Subscription {
    /// Waits for a release, or for having just begun to listen: what was released before is not announced again.
    pub(crate) async fn woken(&self) {
        self.woken.notified().await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.wakeups.lock();
        let Some(channel) = state.channels.get_mut(&self.channel) else { return };
        channel.sleepers -= 1;
        if channel.sleepers == 0 {
            state.channels.remove(&self.channel);
            state.order(Order::Unsubscribe(std::mem::take(&mut self.channel)));
        }
    }
}

impl Wakeups {
    /// Returns a share in a channel of the server that `client` leads to.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        client: &Client,
        timeout: Duration,
        channel: Vec<u8>,
    ) -> Subscription {
        let mut state = self.lock();
        let entry = state
            .channels
            .entry(channel.clone())
            .or_insert_with(|| Channel { sleepers: 0, woken: Arc::new(Notify::new()) });
        entry.sleepers += 1;
        let (woken, first) = (Arc::clone(&entry.woken), entry.sleepers == 1);
        let runs = state.task.as_ref().is_some_and(|(_, task)| !task.is_finished());
        if !runs {
            // It subscribes to all channels that it finds.
            let (sender, orders) = unbounded_channel();
            let task = tokio::spawn(listen(Arc::downgrade(self), client.clone(), timeout, orders));
            state.task = Some((sender, task));
        } else if first {
            state.order(Order::Subscribe(channel.clone()));
        }
        drop(state);
        Subscription { wakeups: Arc::clone(self), channel, woken }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Wakeups {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, task)) = state.task.take() {
            task.abort();
        }
    }
}

impl State {
    fn order(&self, order: Order) {
        if let Some((sender, _)) = &self.task {
            // A task that has just ended has no subscriptions.
            let _ = sender.send(order);
        }
    }
}

/// Listens for as long as someone sleeps.
async fn listen(
    wakeups: Weak<Wakeups>,
    client: Client,
    timeout: Duration,
    mut orders: UnboundedReceiver<Order>,
) {
    loop {
        if let Ok(Ok(connection)) = tokio::time::timeout(timeout, client.get_async_pubsub()).await {
            let (mut sink, mut stream) = connection.split();
            if carry(&wakeups, &mut sink, &mut stream, &mut orders).await {
                return;
            }
        }
        tokio::time::sleep(PAUSE).await;
        let Some(wakeups) = wakeups.upgrade() else { return };
        let mut state = wakeups.lock();
        if state.channels.is_empty() {
            state.task = None;
            return;
        }
    }
}

/// Serves one connection until it fails (false) or nobody needs it any more (true).
async fn carry(
    wakeups: &Weak<Wakeups>,
    sink: &mut PubSubSink,
    stream: &mut PubSubStream,
    orders: &mut UnboundedReceiver<Order>,
) -> bool {
    let Some(channels) = wakeups.upgrade().map(|wakeups| {
        // Orders given so far are part of this.
        while orders.try_recv().is_ok() {}
        wakeups.lock().channels.keys().cloned().collect::<Vec<_>>()
    }) else {
        return true;
    };
    for channel in &channels {
        if sink.subscribe(channel).await.is_err() {
            return false;
        }
        wake(wakeups, channel);
    }
    loop {
        tokio::select! {
            message = stream.next() => match message {
                Some(message) => wake(wakeups, &message.get_channel::<Vec<u8>>().unwrap_or_default()),
                None => return false,
            },
            order = orders.recv() => {
                let done = match order {
                    Some(Order::Subscribe(channel)) => {
                        let done = sink.subscribe(&channel).await;
                        wake(wakeups, &channel);
                        done
                    }
                    Some(Order::Unsubscribe(channel)) => {
                        // Someone may sleep for it again; that order is still to come.
                        sink.unsubscribe(&channel).await
                    }
                    None => return true,
                };
                if done.is_err() {
                    return false;
                }
            }
            () = tokio::time::sleep(KEPT_IDLE) => {
                let Some(wakeups) = wakeups.upgrade() else { return true };
                let mut state = wakeups.lock();
                if state.channels.is_empty() {
                    state.task = None;
                    return true;
                }
            }
        }
    }
}

/// Wakes one of those who sleep for a channel.
fn wake(wakeups: &Weak<Wakeups>, channel: &[u8]) {
    if let Some(wakeups) = wakeups.upgrade()
        && let Some(channel) = wakeups.lock().channels.get(channel)
    {
        channel.woken.notify_one();
    }
}
