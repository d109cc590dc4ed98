//! Peers of other versions.

use super::super::greeting::{First, Greeting, decode_first, update_sentence};
use super::*;

/// A first message as a later version might write it: its number, then nobody knows what.
const LATER: u16 = 99;
const FOREIGN: [u8; 8] = [99, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

fn body<T: Serialize>(message: &T) -> Vec<u8> {
    encode(message).split_off(HEADER)
}

#[test]
fn a_first_message_of_the_same_version_is_read() {
    fn same<T: First + Serialize + Clone + PartialEq + std::fmt::Debug>(message: T) {
        assert_eq!(decode_first(&body(&message)), Ok(Greeting::Same(message)));
    }
    same(messages::join_request());
    same(messages::to_relay().next().unwrap());
    same(messages::to_agent().next().unwrap());
}

#[test]
fn of_another_version_nothing_but_the_version_is_read() {
    let after_variant = [&[0], &FOREIGN[..]].concat();
    assert_eq!(decode_first::<JoinRequest>(&FOREIGN), Ok(Greeting::Foreign { version: LATER }));
    assert_eq!(decode_first::<ToRelay>(&after_variant), Ok(Greeting::Foreign { version: LATER }));
    assert_eq!(decode_first::<ToAgent>(&after_variant), Ok(Greeting::Foreign { version: LATER }));
}

#[test]
fn a_later_message_or_none_is_no_greeting() {
    assert_eq!(decode_first::<ToRelay>(&body(&ToRelay::Holding { revision: 1 })), Err(Malformed::Unreadable));
    assert_eq!(decode_first::<JoinRequest>(&[]), Err(Malformed::Unreadable));
    assert_eq!(decode_first::<ToRelay>(&[0]), Err(Malformed::Unreadable));
    assert_eq!(
        decode_first::<ToRelay>(&[0, VERSION.try_into().unwrap()]),
        Err(Malformed::Unreadable),
        "this version, but nothing else"
    );
}

#[test]
fn a_relays_first_word_may_be_goodbye() {
    for goodbye in [Goodbye::NotKnown, Goodbye::Version { sentence: "hi".into() }] {
        let goodbye = ToAgent::Goodbye(goodbye);
        assert_eq!(decode_first(&body(&goodbye)), Ok(Greeting::Same(goodbye)));
    }
}

#[test]
fn the_sentence_names_the_side_that_is_behind() {
    assert!(update_sentence(1, 2).ends_with("update the agent"));
    assert!(update_sentence(2, 1).ends_with("update the relay"));
}

/// Both must be readable by every version, or there is no sentence for the one that is behind.
#[test]
fn the_messages_that_carry_the_sentence_keep_their_places() {
    let refused = JoinAnswer::Refused { sentence: "hi".into() };
    let goodbye = ToAgent::Goodbye(Goodbye::Version { sentence: "hi".into() });
    assert_eq!(body(&refused), [1, 2, b'h', b'i']);
    assert_eq!(body(&goodbye), [3, 3, 2, b'h', b'i']);
}
