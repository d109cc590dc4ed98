//! The first label of a box's host name at the TLS fronts.
//!
//! Names of boxes are one in their account, labels are one in the installation: there is one domain
//! for all. What stands between the names of box and account is in neither, or else the label is the
//! box's id.

use postern_protocol::id::{DeviceId, DeviceName};

/// What stands between a box's name and its account's.
const BETWEEN: &str = "--";

/// The label of a box in this account; in the installation's own, which is not named, it is the box's
/// name.
pub(crate) fn label(name: &DeviceName, account: Option<&str>, device: DeviceId) -> DeviceName {
    let of_name = match account {
        // Hyphens in the third and fourth place are for other alphabets (RFC 5890, section 2.3.1).
        Some(_) if name.as_str().len() == 2 => None,
        Some(account) if account.contains(BETWEEN) => None,
        Some(account) => format!("{name}{BETWEEN}{account}").parse().ok(),
        None => Some(name.clone()),
    };
    let of_id = || device.as_str().parse().expect("an id is a label");
    of_name.filter(|_| !name.as_str().contains(BETWEEN)).unwrap_or_else(of_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "deviceabcd";

    fn of(name: &str, account: Option<&str>) -> String {
        label(&name.parse().unwrap(), account, ID.parse().unwrap()).to_string()
    }

    #[test]
    fn a_box_is_called_by_its_name_and_its_accounts() {
        assert_eq!(of("box42", None), "box42");
        assert_eq!(of("box42", Some("acme")), "box42--acme");
        assert_eq!(of("b", Some("a")), "b--a");
    }

    #[test]
    fn names_that_could_make_the_label_of_another_box_make_none() {
        for (name, account) in
            [("box42--acme", None), ("a--b", Some("c")), ("a", Some("b--c")), ("xn", Some("p1ai"))]
        {
            assert_eq!(of(name, account), ID, "{name} of {account:?}");
        }
    }

    #[test]
    fn what_does_not_fit_into_a_label_is_called_by_its_id() {
        let longest = "n".repeat(57);
        assert_eq!(of(&longest, Some("acme")), format!("{longest}--acme"));
        assert_eq!(of(&format!("{longest}n"), Some("acme")), ID);
        for account in ["ACME", "a b", "a@b", "a.b", "a_b", "", "acme-"] {
            assert_eq!(of("box42", Some(account)), ID, "{account:?}");
        }
    }
}
