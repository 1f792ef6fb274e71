//! Counts: every request gets the replies that it is due, and nobody receives what was not asked for.

use std::collections::BTreeMap;

use testkit::Reply;

use super::model::Words;

/// What is known of every link.
#[derive(Debug, Default)]
pub struct Accounting {
    links: BTreeMap<u32, Account>,
    compared: u64,
}

#[derive(Debug, Default)]
struct Account {
    asked: u64,
    answered: u64,
    last: Option<Words>,
    /// The link has sent what is no request; how many replies that gets is not counted.
    lawless: bool,
}

impl Accounting {
    /// Notes a new link.
    pub fn open(&mut self, link: u32) {
        self.links.insert(link, Account::default());
    }

    /// Notes that a link is gone.
    pub fn close(&mut self, link: u32) {
        self.links.remove(&link);
    }

    /// Notes that a link has sent bytes that are no requests.
    pub fn lawless(&mut self, link: u32) {
        if let Some(account) = self.links.get_mut(&link) {
            account.lawless = true;
        }
    }

    /// Notes requests that were handed to the node.
    pub fn requests(&mut self, link: u32, requests: Vec<Words>) {
        let Some(account) = self.links.get_mut(&link) else { return };
        for words in requests {
            account.asked += replies_due(&words);
            account.last = Some(words);
        }
    }

    /// Takes a reply of the node.
    pub fn received(&mut self, link: u32, _reply: &Reply) {
        self.compared += 1;
        if let Some(account) = self.links.get_mut(&link) {
            account.answered += 1;
        }
    }

    /// Returns how many replies were counted.
    pub fn compared(&self) -> u64 {
        self.compared
    }

    /// Returns an error if a link was answered more than it asked, or at the end less.
    ///
    /// `waits` says whether a link may be owed replies because its client waits for a key.
    pub fn verdict(&self, end: bool, mut waits: impl FnMut(u32) -> bool) -> Result<(), String> {
        for (link, account) in self.links.iter().filter(|(_, account)| !account.lawless) {
            let owed = account.answered < account.asked;
            if account.answered > account.asked || (end && owed && !waits(*link)) {
                let last = account.last.as_ref().map(|words| testkit::words::quote(&words.join(&b' ')));
                return Err(format!(
                    "client {link} asked for {} replies and received {}; its last request: {}",
                    account.asked,
                    account.answered,
                    last.unwrap_or_default()
                ));
            }
        }
        Ok(())
    }
}

/// Returns how many replies a request gets: one, but for the commands that confirm topic by topic.
fn replies_due(words: &[Vec<u8>]) -> u64 {
    const TOPICAL: [&str; 6] =
        ["SUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE", "SSUBSCRIBE", "SUNSUBSCRIBE"];
    let topical = TOPICAL.iter().any(|name| words[0].eq_ignore_ascii_case(name.as_bytes()));
    if topical { (words.len() as u64 - 1).max(1) } else { 1 }
}
