//! The networks that an access admits.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most networks one access may list.
pub const MAX_NETWORKS: usize = 32;

/// Prefix length at which an IPv6 network lies inside the IPv4-mapped block `::ffff:0:0/96`.
const MAPPED_PREFIX: u8 = 96;

/// A list of networks in one form: IPv4-mapped IPv6 written as IPv4, host bits cleared, sorted,
/// without repetition. At least one, at most [`MAX_NETWORKS`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Networks(Vec<IpNet>);

/// A list that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetworks {
    /// The text is neither an address nor a block.
    #[error("'{0}' is neither an IP address nor a block such as 203.0.113.0/24 or 2001:db8::/64")]
    NotANetwork(String),
    /// Nobody could come in.
    #[error("the list of allowed addresses is empty")]
    Empty,
    /// More than one access may hold.
    #[error("at most {MAX_NETWORKS} networks may be listed")]
    TooMany,
}

impl Networks {
    /// The canonical form of a list.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Result<Self, InvalidNetworks> {
        let mut list: Vec<IpNet> = networks.into_iter().map(canonical).collect();
        list.sort_unstable();
        list.dedup();
        match list.len() {
            0 => Err(InvalidNetworks::Empty),
            1..=MAX_NETWORKS => Ok(Self(list)),
            _ => Err(InvalidNetworks::TooMany),
        }
    }

    /// Reads a list of addresses and blocks, as people write them.
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Self, InvalidNetworks> {
        let networks = texts.iter().map(|text| parse_one(text.as_ref().trim()));
        Self::new(networks.collect::<Result<Vec<_>, _>>()?)
    }

    /// The one address, and nobody else.
    pub fn only(address: IpAddr) -> Self {
        Self(vec![IpNet::from(address.to_canonical())])
    }

    /// Whether an address lies inside.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether each of these networks lies inside one of the others.
    pub fn lie_within(&self, others: &Self) -> bool {
        self.0.iter().all(|network| others.0.iter().any(|other| other.contains(network)))
    }

    /// Whether the whole of a family may come in.
    pub fn admit_everyone(&self) -> bool {
        self.0.iter().any(|network| network.prefix_len() == 0)
    }

    /// The networks, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &IpNet> {
        self.0.iter()
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, network) in self.0.iter().enumerate() {
            let separator = if place == 0 { "" } else { ", " };
            write!(f, "{separator}{network}")?;
        }
        Ok(())
    }
}

impl Serialize for Networks {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let networks = Vec::<IpNet>::deserialize(from)?;
        Self::new(networks).map_err(serde::de::Error::custom)
    }
}

fn parse_one(text: &str) -> Result<IpNet, InvalidNetworks> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| InvalidNetworks::NotANetwork(text.chars().take(64).collect()))
}

fn canonical(network: IpNet) -> IpNet {
    unmapped(&network).map_or(network, IpNet::V4).trunc()
}

/// The IPv4 network that an IPv4-mapped IPv6 network stands for.
fn unmapped(network: &IpNet) -> Option<Ipv4Net> {
    let IpNet::V6(network) = network else { return None };
    let address: Ipv6Addr = network.addr();
    let prefix = network.prefix_len().checked_sub(MAPPED_PREFIX)?;
    Ipv4Net::new(address.to_ipv4_mapped()?, prefix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        Networks::parse(texts).expect("a list of networks")
    }

    #[test]
    fn mapped_addresses_are_ipv4_on_both_sides() {
        let v4 = networks(&["203.0.113.0/24"]);
        assert!(v4.contain("::ffff:203.0.113.9".parse().unwrap()));
        assert_eq!(networks(&["::ffff:203.0.113.9/120"]), v4);
        assert!(networks(&["::ffff:0:0/96"]).admit_everyone());
    }

    #[test]
    fn the_families_do_not_leak_into_each_other() {
        assert!(!networks(&["::/0"]).contain("203.0.113.9".parse().unwrap()));
        assert!(!networks(&["::/64"]).contain("::ffff:203.0.113.9".parse().unwrap()));
        assert!(!networks(&["0.0.0.0/0"]).contain("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn lists_have_one_form() {
        let list = networks(&[" 203.0.113.77/24 ", "2001:db8::1", "203.0.113.0/24"]);
        assert_eq!(list.to_string(), "203.0.113.0/24, 2001:db8::1/128");
    }

    #[test]
    fn the_limit_and_nonsense_are_refused() {
        assert_eq!(Networks::parse::<&str>(&[]), Err(InvalidNetworks::Empty));
        assert!(matches!(Networks::parse(&["box42"]), Err(InvalidNetworks::NotANetwork(_))));
        assert!(matches!(Networks::parse(&["10.0.0.1/33"]), Err(InvalidNetworks::NotANetwork(_))));
        let many: Vec<String> = (0..=MAX_NETWORKS).map(|n| format!("10.0.0.{n}")).collect();
        assert_eq!(Networks::parse(&many), Err(InvalidNetworks::TooMany));
        assert!(Networks::parse(&many[1..]).is_ok());
    }
}
