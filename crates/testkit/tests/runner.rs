//! The runner and the recorder against a target of a few lines that lives in this process.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use testkit::record::record;
use testkit::{
    Arrival, Dialect, Effect, Link, Options, Place, Reply, Report, ScenarioFile, Target, run_file, words,
};

/// A server that knows GET, SET, FLUSHALL, PING, LATER (replied to when time passes) and BYE (disconnects).
#[derive(Default)]
struct Toy {
    links: BTreeMap<Link, (Vec<u8>, bool)>,
    texts: BTreeMap<Vec<u8>, Vec<u8>>,
    late: Vec<Link>,
    effects: Vec<Effect>,
    next_link: u64,
}

impl Toy {
    fn execute(&mut self, link: Link, request: &[Vec<u8>]) {
        let arguments: Vec<&[u8]> = request.iter().map(Vec::as_slice).collect();
        let reply = match arguments.as_slice() {
            [b"SET", key, value] => {
                self.texts.insert(key.to_vec(), value.to_vec());
                self.effects.push(Effect { kind: "propagate".into(), words: request.to_vec() });
                b"+OK\r\n".to_vec()
            }
            [b"GET", key] => match self.texts.get(*key) {
                Some(text) => [format!("${}\r\n", text.len()).as_bytes(), text, b"\r\n"].concat(),
                None => b"$-1\r\n".to_vec(),
            },
            [b"PING"] => b"+PONG\r\n".to_vec(),
            [b"FLUSHALL"] => {
                self.texts.clear();
                b"+OK\r\n".to_vec()
            }
            [b"LATER"] => {
                self.late.push(link);
                Vec::new()
            }
            [b"BYE"] => {
                if let Some((_, closed)) = self.links.get_mut(&link) {
                    *closed = true;
                }
                b"+OK\r\n".to_vec()
            }
            _ => b"-ERR unknown command\r\n".to_vec(),
        };
        if let Some((output, _)) = self.links.get_mut(&link) {
            output.extend(reply);
        }
    }
}

impl Target for Toy {
    fn dialect(&self) -> Dialect {
        Dialect::Reference(7, 0)
    }

    fn place(&self) -> Place {
        Place::InProcess
    }

    fn connect(&mut self) -> io::Result<Link> {
        self.next_link += 1;
        self.links.insert(Link(self.next_link), Default::default());
        Ok(Link(self.next_link))
    }

    fn send(&mut self, link: Link, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while let Ok(Some((request, length))) = Reply::parse(rest) {
            let request: Vec<Vec<u8>> =
                request.elements().iter().map(|word| word.text().unwrap_or_default().to_vec()).collect();
            self.execute(link, &request);
            rest = &rest[length..];
        }
        Ok(())
    }

    fn receive(&mut self, link: Link, into: &mut Vec<u8>, _wait: Duration) -> io::Result<Arrival> {
        let (output, closed) = self.links.get_mut(&link).ok_or(io::ErrorKind::NotConnected)?;
        match (output.is_empty(), *closed) {
            (false, _) => {
                into.append(output);
                Ok(Arrival::Bytes)
            }
            (true, true) => Ok(Arrival::Closed),
            (true, false) => Ok(Arrival::Nothing),
        }
    }

    fn disconnect(&mut self, link: Link) {
        self.links.remove(&link);
    }

    fn pass(&mut self, _time: Duration) {
        for link in std::mem::take(&mut self.late) {
            if let Some((output, _)) = self.links.get_mut(&link) {
                output.extend(b":1\r\n");
            }
        }
    }

    fn take_effects(&mut self) -> Option<Vec<Effect>> {
        Some(std::mem::take(&mut self.effects))
    }
}

fn play(text: &str) -> Report {
    let file = ScenarioFile::parse("toy.txt", text).unwrap();
    run_file(&file, &mut Toy::default(), Options::default())
}

#[test]
fn what_is_written_and_what_happens_agree() {
    let report = play(
        "## state and clients\n> SET k v\n+OK\n! propagate SET k v\nb> GET k\n? keep value\n\"v\"\n\
         > SET l ${value}${value}\n+OK\n> GET l\n\"vv\"\n\
         ## state is fresh\n> GET k\n$-1\n\
         ## what comes later\nb> LATER\n...\n@ +10\nb<\n:1\n\
         ## the end of a connection\n> BYE\n+OK\n< closed\n\
         ## raw bytes\nraw \"*1\\r\\n$4\\r\\nPI\"\nraw \"*1\\r\\n$4\\r\\nPING\\r\\n\"\n+PONG\n\
         ## an older server replies otherwise\n> GET k\n\"new\"\n? redis-7.0\n$-1\n\
         ## newer than the target\nsince: 7.2\n> GET k\n\"new\"\n\
         ## not of the target\nonly: redstart\n> GET k\n\"new\"\n",
    );
    assert_eq!(report.differences.len(), 0, "{}", report.differences[0]);
    assert_eq!((report.scenarios, report.skipped, report.compared), (6, 2, 12));
}

#[test]
fn every_kind_of_difference_is_found() {
    let lines = |text: &str| play(text).differences.iter().map(|d| d.line).collect::<Vec<_>>();
    assert_eq!(lines("## a wrong reply\n> PING\n+PANG\n> GET k\n$-1\n"), [3]);
    assert_eq!(lines("## no reply\n> LATER\n:1\n"), [3]);
    assert_eq!(lines("## a reply too early\n> PING\n...\n"), [3]);
    assert_eq!(lines("## a reply that nobody expects\n> LATER\n...\n@ +1\n"), [4]);
    assert_eq!(lines("## still connected\n> PING\n+PONG\n< closed\n"), [4]);
    assert_eq!(lines("## nothing written\n> PING\n"), [2]);
    assert_eq!(lines("## a wrong effect\n> SET k v\n+OK\n! propagate SET k w\n"), [4]);
    assert_eq!(lines("## an effect that is not\n> GET k\n$-1\n! propagate GET k\n"), [4]);
    assert_eq!(lines("## an effect that should not be\n> SET k v\n+OK\n! propagate\n"), [4]);
}

#[test]
fn a_recording_plays_without_differences() {
    let text = "# kept\n## title\n> SET k v\n> GET k\nb> LATER\n@ +1\n> PING\n? match PO\n> BYE\n\n## b\n> GET k\n+no\n";
    let file = ScenarioFile::parse("toy.txt", text).unwrap();

    let recording = record(&file, &mut Toy::default(), false).unwrap();
    let expected = "# kept\n## title\n> SET k v\n+OK\n> GET k\n\"v\"\nb> LATER\n...\n@ +1\nb<\n:1\n> PING\n? match PO\n\
        +PONG\n> BYE\n+OK\n< closed\n\n## b\n> GET k\n+no\n";
    assert_eq!((recording.text.as_str(), recording.kept.len()), (expected, 1));

    let forced = record(&file, &mut Toy::default(), true).unwrap();
    assert_eq!(forced.text, expected.replace("+no", "$-1"));
    assert_eq!(play(&forced.text).differences.len(), 0);
}

#[test]
fn requests_are_encoded_as_arrays_of_bulk_strings() {
    assert_eq!(words::encode(&[b"GET".to_vec(), b"".to_vec()]), b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n");
}
