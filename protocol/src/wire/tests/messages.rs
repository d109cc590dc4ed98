//! One example of every message, by name. A variant that is missing here does not compile.

use crate::examples::refusals;

use super::*;

/// Tells whether a whole frame is read as the message it stands beside.
type ReadsBack = Box<dyn Fn(&[u8]) -> bool>;

/// Every message: its name, its frame, and how to read it back.
pub(super) fn all() -> Vec<(String, Vec<u8>, ReadsBack)> {
    let mut all = vec![example("JoinRequest".into(), join_request())];
    all.extend(join_answers().map(|message| example(join_answer_name(&message), message)));
    all.extend(to_relay().map(|message| example(to_relay_name(&message), message)));
    all.extend(to_agent().map(|message| example(to_agent_name(&message), message)));
    all.push(example("Errand::Visit, IPv4".into(), Errand::Visit(open("203.0.113.9:50000"))));
    all.push(example("Errand::Visit, IPv6".into(), Errand::Visit(open("[2001:db8::9]:50000"))));
    all.push(example(
        "Errand::Challenge".into(),
        Errand::Challenge { name: "box42.relay.example.com".into() },
    ));
    all.push(example("Opening::Opened".into(), Opening::Opened));
    all.extend(
        refusals()
            .into_iter()
            .map(|refusal| example(format!("Opening::Refused, {refusal}"), Opening::Refused(refusal))),
    );
    all
}

/// A document with this body, which nothing needs to verify.
pub(super) fn signed_grants(body: &[u8]) -> SignedGrants {
    let base64 = |bytes: &[u8]| data_encoding::BASE64.encode(bytes);
    let document = serde_json::json!({ "body": base64(body), "signature": base64(&[7; 64]) });
    serde_json::from_value(document).unwrap()
}

fn example<T>(name: String, message: T) -> (String, Vec<u8>, ReadsBack)
where
    T: Serialize + DeserializeOwned + PartialEq + 'static,
{
    let bytes = encode(&message);
    let reads_back = move |frame: &[u8]| {
        let (header, body) = frame.split_first_chunk().unwrap();
        let fits = body_length(*header, LARGE) == Ok(body.len());
        fits && decode::<T>(body).is_ok_and(|read| read == message)
    };
    (name, bytes, Box::new(reads_back))
}

fn facts() -> BoxFacts {
    BoxFacts {
        agent_version: "0.1.0".into(),
        hostname: "attic".into(),
        platform: "linux/aarch64".into(),
        ssh: Some(SshServer {
            kind: SshServerKind::System,
            version: "OpenSSH_9.2p1".into(),
            port: 22,
            host_keys: vec![key(3)],
        }),
        services: vec![Service { name: "router-ui".into(), port: 443 }],
        certificate: Some(WebCertificate {
            kind: WebCertificateKind::Acme,
            names: vec!["box42.relay.example.com".into()],
            fingerprint: "5e".repeat(32),
            ends_at: at("13:00:00"),
        }),
        default_login: read("root"),
        paused: false,
        consent: None,
    }
}

fn builtin_facts() -> BoxFacts {
    let ssh =
        SshServer { kind: SshServerKind::Builtin, version: "postern".into(), port: 0, host_keys: vec![] };
    let consent = Consent { approved: vec![read("k7f2q5xw3a")], denied: vec![read("aaaaaaaaaa")] };
    BoxFacts {
        ssh: Some(ssh),
        services: vec![],
        certificate: None,
        paused: true,
        consent: Some(consent),
        ..facts()
    }
}

pub(super) fn join_request() -> JoinRequest {
    JoinRequest {
        version: VERSION,
        token: Secret::from_entropy("psj", [5; 32]),
        csr: b"a signing request".to_vec(),
        facts: facts(),
    }
}

fn certificate() -> Certificate {
    Certificate { own: b"the box's".to_vec(), authority: b"the authority's".to_vec() }
}

fn join_answers() -> impl Iterator<Item = JoinAnswer> {
    let membership = Membership {
        device: read("boxnumbr42"),
        name: read("box42"),
        certificate: certificate(),
        grant_key: GrantSigner::from_seed(&[1; 32]).verifier(),
        relays: vec!["relay.example.com:4433".into(), "192.0.2.1:4433".into()],
    };
    let refused = JoinAnswer::Refused { sentence: "this join string was used already".into() };
    [JoinAnswer::Welcome(Box::new(membership)), refused].into_iter()
}

fn join_answer_name(message: &JoinAnswer) -> String {
    match message {
        JoinAnswer::Welcome(_) => "JoinAnswer::Welcome",
        JoinAnswer::Refused { .. } => "JoinAnswer::Refused",
    }
    .to_owned()
}

pub(super) fn to_relay() -> impl Iterator<Item = ToRelay> {
    let messages = [
        ToRelay::Hello { version: VERSION, facts: facts(), why_tcp: None, beside: false, metered: false },
        ToRelay::Hello {
            version: VERSION,
            facts: facts(),
            why_tcp: Some(WhyTcp::UdpStarved),
            beside: true,
            metered: true,
        },
        ToRelay::Facts(builtin_facts()),
        ToRelay::Holding { revision: 300 },
        ToRelay::Renew { csr: b"a signing request".to_vec() },
        ToRelay::WhereAmI,
    ];
    messages.into_iter()
}

fn to_relay_name(message: &ToRelay) -> String {
    match message {
        ToRelay::Hello { why_tcp: None, .. } => "ToRelay::Hello",
        ToRelay::Hello { why_tcp: Some(_), .. } => "ToRelay::Hello, over TCP",
        ToRelay::Facts(_) => "ToRelay::Facts",
        ToRelay::Holding { .. } => "ToRelay::Holding",
        ToRelay::Renew { .. } => "ToRelay::Renew",
        ToRelay::WhereAmI => "ToRelay::WhereAmI",
    }
    .to_owned()
}

pub(super) fn to_agent() -> impl Iterator<Item = ToAgent> {
    let goodbyes = [
        Goodbye::NotKnown,
        Goodbye::Displaced,
        Goodbye::Draining { within_seconds: 30 },
        Goodbye::Version { sentence: "update the agent".into() },
    ];
    let messages = [
        ToAgent::Welcome {
            version: VERSION,
            relay: read("relaynumb2"),
            now: at("12:00:00"),
            web: Some(web()),
        },
        ToAgent::Grants(grants()),
        ToAgent::Certificate(certificate()),
    ];
    messages
        .into_iter()
        .chain(goodbyes.map(ToAgent::Goodbye))
        .chain([ToAgent::Starved, ToAgent::Seen { address: "203.0.113.9:50000".parse().unwrap() }])
}

fn web() -> Web {
    Web { domain: "relay.example.com".into(), port: 443 }
}

fn to_agent_name(message: &ToAgent) -> String {
    match message {
        ToAgent::Welcome { .. } => "ToAgent::Welcome",
        ToAgent::Grants(_) => "ToAgent::Grants",
        ToAgent::Certificate(_) => "ToAgent::Certificate",
        ToAgent::Goodbye(Goodbye::NotKnown) => "ToAgent::Goodbye, NotKnown",
        ToAgent::Goodbye(Goodbye::Displaced) => "ToAgent::Goodbye, Displaced",
        ToAgent::Goodbye(Goodbye::Draining { .. }) => "ToAgent::Goodbye, Draining",
        ToAgent::Goodbye(Goodbye::Version { .. }) => "ToAgent::Goodbye, Version",
        ToAgent::Starved => "ToAgent::Starved",
        ToAgent::Seen { .. } => "ToAgent::Seen",
    }
    .to_owned()
}

fn grants() -> SignedGrants {
    let grant = crate::grant::Grant {
        access: read("adatobox42"),
        port: 22,
        login: read("root"),
        key: Some(key(1)),
        allowed: crate::access::Networks::parse(&["203.0.113.0/24", "2001:db8::/32"]).unwrap(),
        leased: Some(crate::access::PublicPort { relay: read("relaynumb2"), port: 40122 }),
        expires_at: at("13:00:00"),
        revoked: false,
    };
    let web = crate::grant::Grant { port: 443, key: None, leased: None, revoked: true, ..grant.clone() };
    GrantSigner::from_seed(&[1; 32]).sign(&Grants {
        device: read("boxnumbr42"),
        name: read("box42"),
        label: read("box42--acme"),
        revision: 300,
        signed_at: at("12:00:00"),
        lease_until: at("23:00:00"),
        grants: vec![grant, web],
    })
}

fn open(visitor: &str) -> Open {
    Open {
        visit: read("visitnumb2"),
        access: read("adatobox42"),
        port: 22,
        visitor: read(visitor),
        door: Door::Gate,
        revision: 300,
    }
}
