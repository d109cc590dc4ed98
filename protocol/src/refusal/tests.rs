//! Codes that programs rely on, and sentences that people read.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::examples::refusals;
use crate::golden::assert_golden;

#[test]
fn every_refusal_has_its_code_and_its_sentence() {
    let mut text = String::from("The stable code of every refusal, and what the visitor reads.\n\n");
    for refusal in refusals() {
        writeln!(text, "{:20} {refusal}", refusal.code()).unwrap();
    }
    assert_golden("refusal/sentences.txt", &text);
}

#[test]
fn no_two_refusals_share_a_code() {
    let codes: BTreeSet<&str> = refusals().iter().map(|refusal| refusal.code()).collect();
    let addresses_of_both_families = 1;
    assert_eq!(codes.len() + addresses_of_both_families, refusals().len());
}
