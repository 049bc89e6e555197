//! What is next for a certificate, by record, sight and clock.

use super::*;
use crate::model::fixtures::at;
use crate::testing::host_record;

const VALIDITY: Duration = Duration::from_secs(90 * 24 * 3600);

fn days(days: i64) -> Timestamp {
    at(days * 24 * 3600)
}

/// Made on day 0, with the key 9.
fn record(next: Option<[u8; 32]>) -> HostRecord {
    let offer = |key_sha256| OfferedCertificate {
        key_sha256,
        made_at: days(60),
        expires_at: days(150),
        ca_sha256: [8; 32],
    };
    let mut record = HostRecord::clone(&host_record(1));
    record.certificate_made_at = Some(days(0));
    record.renewal.next = next.map(offer);
    record
}

fn sight(shown: Option<CertificateShown>, looked: bool) -> CertificateSight {
    CertificateSight { shown, looked, newest_ca: true }
}

fn shown(key: u8, until: i64) -> Option<CertificateShown> {
    Some(CertificateShown { key_sha256: [key; 32], not_after: days(until) })
}

#[test]
fn a_certificate_is_due_in_the_last_third_of_its_life_and_where_it_is_good_for_too_long() {
    for (now, until, next) in [
        (0, 90, Next::Nothing),
        (59, 90, Next::Nothing),
        (60, 90, Next::Renew),
        (89, 90, Next::Renew),
        (91, 90, Next::Renew),
        // Of a time when they were good for two years; a clock that was corrected is no cause.
        (0, 730, Next::Renew),
        (0, 91, Next::Nothing),
    ] {
        let planned = plan(&record(None), sight(shown(9, until), false), days(now), VALIDITY);
        assert_eq!(planned, next, "on day {now}, until {until}");
    }
}

#[test]
fn what_is_on_record_and_what_is_shown_say_where_a_renewal_goes_on() {
    let (old, new, foreign) = (shown(9, 90), shown(5, 150), shown(7, 90));
    let offered = Some([5; 32]);
    for (what, next, seen, looked, planned) in [
        ("nothing was ever shown", None, None, false, Next::Look),
        ("a key that is not on record", None, foreign, false, Next::Look),
        ("offered, and not looked since", offered, old, false, Next::Look),
        ("offered, and not installed", offered, old, true, Next::Renew),
        ("offered, and something else is shown", offered, foreign, true, Next::Renew),
        ("installed", offered, new, true, Next::Confirm),
        ("installed, as a connection after it has shown", offered, new, false, Next::Confirm),
    ] {
        assert_eq!(plan(&record(next), sight(seen, looked), days(61), VALIDITY), planned, "{what}");
    }
}

#[test]
fn a_clock_that_was_set_back_makes_no_certificate_that_has_expired_when_it_is_set_right() {
    // Two years back the certificate seems to be good for far too long.
    let planned = plan(&record(None), sight(shown(9, 90), false), days(-730), VALIDITY);
    assert_eq!(planned, Next::ClockIsBehind);
    // By seconds it may be set back.
    let mut just_made = record(None);
    just_made.certificate_made_at = Some(at(5));
    assert_eq!(plan(&just_made, sight(shown(9, 90), false), days(0), VALIDITY), Next::Nothing);
    // Nobody kept when it was made: of a host that joined before this was kept.
    just_made.certificate_made_at = None;
    assert_eq!(plan(&just_made, sight(shown(9, 730), false), days(0), VALIDITY), Next::Renew);
}

#[test]
fn it_is_a_fault_when_half_of_the_time_for_a_renewal_has_passed() {
    assert!(!is_fault(days(90), days(74), VALIDITY));
    assert!(is_fault(days(90), days(75), VALIDITY));
}

#[test]
fn a_certificate_of_a_ca_that_is_being_replaced_is_due_at_once() {
    let old = CertificateSight { newest_ca: false, ..sight(shown(9, 90), false) };
    assert_eq!(plan(&record(None), old, days(1), VALIDITY), Next::Renew);
}
