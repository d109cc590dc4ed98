//! The audit's chain: what is hashed, and how a chain is checked. Pure.
//!
//! A record's hash is SHA-256 over [`DOMAIN`], the hash of the record before it (32 zero bytes for the
//! first), its number and its time (each eight bytes, big-endian), and then its texts in the order of
//! [`Link`], each after its length in four bytes, big-endian; one that is absent has the length 2³²−1 and
//! no bytes. So no two records have the same encoding, and a record can neither be changed, nor moved, nor
//! taken out of the middle without changing every hash after it.
//!
//! Whoever can write to the database can compute the whole chain anew. What they cannot do is to make it
//! pass through a head that somebody noted down elsewhere.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;

use crate::ca::sha256;

/// Keeps these hashes apart from all others.
const DOMAIN: &[u8] = b"postern audit 1\0";

/// What stands before the first record.
pub(crate) const NOTHING_BEFORE: Hash = [0; 32];

/// The hash of a record.
pub(crate) type Hash = [u8; 32];

/// A record, as it is hashed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link<'a> {
    pub(crate) seq: u64,
    pub(crate) at_millis: i64,
    pub(crate) id: &'a str,
    pub(crate) account: &'a str,
    pub(crate) actor_kind: &'a str,
    pub(crate) actor_id: Option<&'a str>,
    pub(crate) actor_name: &'a str,
    pub(crate) address: Option<&'a str>,
    pub(crate) action: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) was: &'a str,
    pub(crate) became: &'a str,
}

impl Link<'_> {
    /// Its hash, behind the one before it.
    pub(crate) fn hash(&self, previous: &Hash) -> Hash {
        let mut bytes = [DOMAIN, previous].concat();
        bytes.extend_from_slice(&self.seq.to_be_bytes());
        bytes.extend_from_slice(&self.at_millis.to_be_bytes());
        for text in [
            Some(self.id),
            Some(self.account),
            Some(self.actor_kind),
            self.actor_id,
            Some(self.actor_name),
            self.address,
            Some(self.action),
            Some(self.subject),
            Some(self.was),
            Some(self.became),
        ] {
            let length = text.map_or(u32::MAX, |text| u32::try_from(text.len()).unwrap_or(u32::MAX - 1));
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(text.unwrap_or("").as_bytes());
        }
        sha256(&bytes)
    }
}

/// A place in the chain: so many records, and the hash of the last of them. Written `12:9f86…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub(crate) seq: u64,
    pub(crate) hash: Hash,
}

impl Head {
    /// How many records there were up to here.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Before the first record.
    pub(crate) const START: Self = Self { seq: 0, hash: NOTHING_BEFORE };
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, HEXLOWER.encode(&self.hash))
    }
}

/// A text that is no place in the chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a head is a number, a colon and 64 hexadecimal digits, as 'audit verify' prints it")]
pub struct InvalidHead;

impl FromStr for Head {
    type Err = InvalidHead;

    fn from_str(text: &str) -> Result<Self, InvalidHead> {
        let (seq, hash) = text.trim().split_once(':').ok_or(InvalidHead)?;
        let hash = HEXLOWER.decode(hash.to_ascii_lowercase().as_bytes()).map_err(|_| InvalidHead)?;
        Ok(Self {
            seq: seq.parse().map_err(|_| InvalidHead)?,
            hash: hash.try_into().map_err(|_| InvalidHead)?,
        })
    }
}

/// What is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Older records are gone, and none that is left says that their time was over.
    #[error("the records up to {before} are missing, and no record says that they were pruned")]
    Beginning {
        /// The first record that is there, less one.
        before: u64,
    },
    /// A record is gone.
    #[error("record {seq} is missing")]
    Missing {
        /// Its number.
        seq: u64,
    },
    /// A record is not what was written, or stands where another stood.
    #[error("record {seq} was altered, or does not follow the one before it")]
    Altered {
        /// Its number.
        seq: u64,
    },
    /// The last records are gone.
    #[error("the chain ends at {found}, and should end at {expected}: its last records are missing")]
    End {
        /// Where it ends.
        found: Head,
        /// Where it should end.
        expected: Head,
    },
    /// The chain does not pass through a head that was noted down.
    #[error("record {seq} is not the one that was noted down: the chain was written anew")]
    OtherHead {
        /// The number that was noted down.
        seq: u64,
    },
    /// What was noted down was pruned, so it cannot be compared.
    #[error("record {seq}, which was noted down, was pruned; compare with a newer head")]
    HeadPruned {
        /// The number that was noted down.
        seq: u64,
    },
}

/// Walks along a chain, record by record.
#[derive(Debug)]
pub(crate) struct Walk {
    at: Head,
    expected: Option<Head>,
    records: u64,
}

impl Walk {
    /// Begins behind what was pruned, if anything was, on the way through a head that was noted down.
    pub(crate) fn begin(from: Head, expected: Option<Head>) -> Result<Self, Broken> {
        match expected {
            Some(head) if head.seq < from.seq => Err(Broken::HeadPruned { seq: head.seq }),
            Some(head) if head.seq == from.seq && head.hash != from.hash => {
                Err(Broken::OtherHead { seq: head.seq })
            }
            Some(_) | None => Ok(Self { at: from, expected, records: 0 }),
        }
    }

    /// The next record, with the hash that stands beside it.
    pub(crate) fn step(&mut self, link: &Link<'_>, hash: &[u8]) -> Result<(), Broken> {
        let due = self.at.seq + 1;
        if link.seq != due {
            return Err(Broken::Missing { seq: due });
        }
        let own = link.hash(&self.at.hash);
        if own != hash {
            return Err(Broken::Altered { seq: due });
        }
        if self.expected.is_some_and(|head| head.seq == due && head.hash != own) {
            return Err(Broken::OtherHead { seq: due });
        }
        self.at = Head { seq: due, hash: own };
        self.records += 1;
        Ok(())
    }

    /// The end, which should be here; how many records there were, and where it is.
    pub(crate) fn end(self, head: Head) -> Result<(u64, Head), Broken> {
        let found = self.at;
        match self.expected {
            _ if found != head => Err(Broken::End { found, expected: head }),
            Some(expected) if expected.seq > found.seq => Err(Broken::End { found, expected }),
            Some(_) | None => Ok((self.records, found)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(seq: u64, subject: &str) -> Link<'_> {
        Link {
            seq,
            at_millis: 1_700_000_000_000,
            id: "aaaaaaaaaa",
            account: "bbbbbbbbbb",
            actor_kind: "user",
            actor_id: Some("cccccccccc"),
            actor_name: "ann",
            address: None,
            action: "device_created",
            subject,
            was: "{}",
            became: "{}",
        }
    }

    fn chain(subjects: &[&'static str]) -> Vec<(Link<'static>, Hash)> {
        let mut previous = NOTHING_BEFORE;
        let links = subjects.iter().zip(1..).map(|(subject, seq)| {
            let link = link(seq, subject);
            previous = link.hash(&previous);
            (link, previous)
        });
        links.collect()
    }

    fn walk(
        chain: &[(Link<'static>, Hash)],
        head: Head,
        expected: Option<Head>,
    ) -> Result<(u64, Head), Broken> {
        let mut walk = Walk::begin(Head::START, expected)?;
        for (link, hash) in chain {
            walk.step(link, hash)?;
        }
        walk.end(head)
    }

    fn head(chain: &[(Link<'static>, Hash)]) -> Head {
        chain.last().map_or(Head::START, |(link, hash)| Head { seq: link.seq, hash: *hash })
    }

    #[test]
    fn an_encoding_says_where_each_text_ends_and_which_are_absent() {
        let hash = |change: fn(&mut Link<'static>)| {
            let mut link = link(1, "box");
            change(&mut link);
            link.hash(&NOTHING_BEFORE)
        };
        let all = [
            hash(|_| {}),
            hash(|link| (link.action, link.subject) = ("device_create", "dbox")),
            hash(|link| link.actor_id = None),
            hash(|link| link.actor_id = Some("")),
            hash(|link| link.address = Some("")),
            hash(|link| link.seq = 2),
            hash(|link| link.at_millis += 1),
        ];
        let different: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }

    #[test]
    fn whatever_is_done_to_a_chain_shows() {
        let whole = chain(&["a", "b", "c", "d"]);
        let end = head(&whole);
        assert_eq!(walk(&whole, end, None), Ok((4, end)));
        let mut altered = whole.clone();
        altered[1].0.subject = "x";
        assert_eq!(walk(&altered, end, None), Err(Broken::Altered { seq: 2 }));
        let mut shorter = whole.clone();
        shorter.remove(1);
        assert_eq!(walk(&shorter, end, None), Err(Broken::Missing { seq: 2 }));
        let mut swapped = whole.clone();
        swapped.swap(1, 2);
        assert_eq!(walk(&swapped, end, None), Err(Broken::Missing { seq: 2 }));
        let cut = &whole[..3];
        assert_eq!(walk(cut, end, None), Err(Broken::End { found: head(cut), expected: end }));
    }

    #[test]
    fn a_chain_that_was_written_anew_does_not_pass_through_a_head_noted_down() {
        let whole = chain(&["a", "b", "c", "d"]);
        let noted = head(&whole[..3]);
        assert!(walk(&whole, head(&whole), Some(noted)).is_ok());
        let forged = chain(&["a", "x", "c", "d"]);
        assert!(walk(&forged, head(&forged), None).is_ok(), "by itself it is a chain");
        assert_eq!(walk(&forged, head(&forged), Some(noted)), Err(Broken::OtherHead { seq: 3 }));
        let cut = &whole[..2];
        let told = walk(cut, head(cut), Some(noted));
        assert_eq!(told, Err(Broken::End { found: head(cut), expected: noted }));
    }

    #[test]
    fn a_head_that_was_pruned_cannot_be_compared() {
        let whole = chain(&["a", "b", "c"]);
        let pruned = head(&whole[..2]);
        let noted = head(&whole[..1]);
        assert_eq!(Walk::begin(pruned, Some(noted)).unwrap_err(), Broken::HeadPruned { seq: 1 });
        assert!(Walk::begin(pruned, Some(pruned)).is_ok());
        let other = Head { hash: [1; 32], ..pruned };
        assert_eq!(Walk::begin(pruned, Some(other)).unwrap_err(), Broken::OtherHead { seq: 2 });
    }

    #[test]
    fn a_head_survives_being_noted_down() {
        let noted = head(&chain(&["a"]));
        assert_eq!(noted.to_string().parse(), Ok(noted));
        for text in ["", "1", "1:", "x:00", "1:zz", ":"] {
            assert_eq!(text.parse::<Head>(), Err(InvalidHead), "{text}");
        }
    }
}
