use super::*;
use kilonova_crds::v1alpha1::Subnet;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn subnet(cidr: &str, gateway: Option<&str>, ranges: &[&str]) -> Subnet {
    Subnet {
        cidr: cidr.into(),
        gateway: gateway.map(Into::into),
        ranges: (!ranges.is_empty()).then(|| ranges.iter().map(ToString::to_string).collect()),
        dns: None,
        routes: None,
    }
}

fn arc(text: &str) -> Arc<str> {
    Arc::from(text)
}

fn ledger(subnets: &[Subnet]) -> Addresses {
    let mut addresses = Addresses::default();
    assert_eq!(addresses.set_network(&arc("blue"), subnets), Ok(true));
    addresses
}

/// Chooses and holds; the addresses as text.
fn take(addresses: &mut Addresses, fixed: &[&str], uid: &str) -> Result<Vec<String>, AddressError> {
    let fixed: Vec<String> = fixed.iter().map(ToString::to_string).collect();
    let chosen = addresses.choose("blue", &fixed, uid)?;
    for c in &chosen {
        addresses.hold(&arc("blue"), c.ip, &arc(uid));
    }
    Ok(chosen.iter().map(|c| c.ip.to_string()).collect())
}

#[test]
fn gives_the_lowest_and_never_network_gateway_or_broadcast() {
    let mut addresses = ledger(&[subnet("10.0.0.0/29", None, &[])]);
    let all: Vec<_> = (0..5)
        .map(|i| take(&mut addresses, &[], &format!("i{i}")))
        .collect();
    let want = ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"];
    assert_eq!(all, want.map(|ip| Ok(vec![ip.to_owned()])));
    assert_eq!(
        take(&mut addresses, &[], "i6"),
        Err(AddressError::Exhausted)
    );
    for ip in [
        "10.0.0.0", "10.0.0.1", "10.0.0.7", "10.0.1.1", "fd00::1", "x",
    ] {
        let refused = take(&mut addresses, &[ip], "i7");
        assert!(matches!(refused, Err(AddressError::Outside { .. })), "{ip}");
    }
}

#[test]
fn a_fixed_one_is_given_outside_the_ranges_once() {
    let mut addresses = ledger(&[subnet("10.0.0.0/24", None, &["10.0.0.10-10.0.0.11"])]);
    assert!(take(&mut addresses, &["10.0.0.200"], "a").is_ok());
    assert_eq!(
        take(&mut addresses, &["10.0.0.200"], "b"),
        Err(AddressError::Taken {
            ip: IpAddr::from([10, 0, 0, 200]),
            holder: arc("a")
        })
    );
    assert!(take(&mut addresses, &["10.0.0.200"], "a").is_ok());
    assert_eq!(
        take(&mut addresses, &[], "b"),
        Ok(vec!["10.0.0.10".to_owned()])
    );
}

#[test]
fn a_released_one_is_the_last_to_be_given_again() {
    let mut addresses = ledger(&[subnet("10.0.0.0/29", None, &[])]);
    assert!(take(&mut addresses, &[], "a").is_ok());
    assert!(take(&mut addresses, &[], "b").is_ok());
    assert!(addresses.release("blue", IpAddr::from([10, 0, 0, 3]), "b"));
    assert!(addresses.release("blue", IpAddr::from([10, 0, 0, 2]), "a"));
    let next: Vec<_> = (0..5)
        .filter_map(|i| take(&mut addresses, &[], &format!("c{i}")).ok())
        .flatten()
        .collect();
    assert_eq!(
        next,
        ["10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.3", "10.0.0.2"]
    );
}

#[test]
fn a_change_of_ranges_counts_at_once_and_what_is_held_stays() {
    let mut addresses = ledger(&[subnet("10.0.0.0/24", None, &["10.0.0.10-10.0.0.10"])]);
    assert!(take(&mut addresses, &[], "a").is_ok());
    assert!(take(&mut addresses, &[], "b").is_err());
    let wider = [subnet("10.0.0.0/24", None, &["10.0.0.5-10.0.0.10"])];
    assert_eq!(addresses.set_network(&arc("blue"), &wider), Ok(true));
    assert_eq!(addresses.set_network(&arc("blue"), &wider), Ok(false));
    assert_eq!(
        take(&mut addresses, &[], "b"),
        Ok(vec!["10.0.0.5".to_owned()])
    );
    addresses.forget_network("blue");
    assert!(addresses.in_use("blue"));
    assert!(addresses.release("blue", IpAddr::from([10, 0, 0, 10]), "a"));
    assert!(addresses.release("blue", IpAddr::from([10, 0, 0, 5]), "b"));
    assert!(addresses.pools.is_empty());
}

#[test]
fn both_families_are_given() {
    let subnets = [
        subnet("10.0.0.0/24", None, &[]),
        subnet("fd00::/64", None, &[]),
    ];
    let mut addresses = ledger(&subnets);
    assert_eq!(
        take(&mut addresses, &[], "a"),
        Ok(vec!["10.0.0.2".to_owned(), "fd00::2".to_owned()])
    );
    assert_eq!(
        take(&mut addresses, &["fd00::ffff"], "b"),
        Ok(vec!["10.0.0.3".to_owned(), "fd00::ffff".to_owned()])
    );
}

#[test]
fn wrong_subnets_are_named() {
    for (bad, word) in [
        (subnet("10.0.0.0/33", None, &[]), "no subnet"),
        (subnet("10.0.0.0/24", Some("10.0.1.1"), &[]), "not inside"),
        (subnet("10.0.0.0/24", Some("10.0.0.255"), &[]), "broadcast"),
        (
            subnet("10.0.0.0/24", None, &["10.0.0.9-10.0.0.8"]),
            "before",
        ),
        (subnet("10.0.0.0/24", None, &["10.0.0.9"]), "dash"),
        (
            subnet(
                "10.0.0.0/24",
                None,
                &["10.0.0.2-10.0.0.9", "10.0.0.9-10.0.0.12"],
            ),
            "overlap",
        ),
        (
            subnet("10.0.0.0/24", None, &["10.0.0.1-10.0.0.1"]),
            "no address",
        ),
    ] {
        let error = Addresses::default().set_network(&arc("blue"), &[bad]);
        let error = error.map_err(|e| e.to_string()).err().unwrap_or_default();
        assert!(error.contains(word), "{error:?} has no {word:?}");
    }
}

#[derive(Clone, Debug)]
enum Op {
    Take { uid: u8, fixed: Option<u8> },
    Release { uid: u8 },
    Ranges { first: u8, last: u8 },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..12u8, prop::option::of(0..40u8)).prop_map(|(uid, fixed)| Op::Take { uid, fixed }),
        3 => (0..12u8).prop_map(|uid| Op::Release { uid }),
        1 => (0..32u8, 0..32u8).prop_map(|(first, last)| Op::Ranges { first, last }),
    ]
}

proptest! {
    /// Under any history: nobody gets what another holds, nor what is never given; exhaustion is
    /// said only when it is true; the holders equal a plain model's.
    #[test]
    fn never_doubles(ops in prop::collection::vec(op(), 0..80)) {
        let net = |last: u8| IpAddr::from([10, 0, 0, last]);
        let mut range = (0u8, 31u8);
        let mut addresses = ledger(&[subnet("10.0.0.0/27", None, &[])]);
        let mut model: BTreeMap<IpAddr, u8> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Take { uid, fixed } if !model.values().any(|u| *u == uid) => {
                    let texts: Vec<String> = fixed.map(|f| net(f).to_string()).into_iter().collect();
                    match addresses.choose("blue", &texts, &format!("i{uid}")) {
                        Ok(chosen) => {
                            let ip = chosen[0].ip;
                            prop_assert!(!model.contains_key(&ip));
                            prop_assert!(![net(0), net(1), net(31)].contains(&ip));
                            prop_assert!(fixed.is_some() || (net(range.0)..=net(range.1)).contains(&ip));
                            addresses.hold(&arc("blue"), ip, &arc(&format!("i{uid}")));
                            model.insert(ip, uid);
                        }
                        Err(AddressError::Exhausted) => {
                            let free = (range.0.max(2)..=range.1.min(30)).find(|n| !model.contains_key(&net(*n)));
                            prop_assert_eq!(free, None);
                        }
                        Err(AddressError::Taken { ip, .. }) => prop_assert!(model.contains_key(&ip)),
                        Err(AddressError::Outside { .. }) => {
                            prop_assert!(fixed.is_some_and(|f| !(2..=30).contains(&f)));
                        }
                    }
                }
                Op::Take { .. } => {}
                Op::Release { uid } => {
                    for (ip, _) in model.extract_if(.., |_, u| *u == uid) {
                        let freed = addresses.release("blue", ip, &format!("i{uid}"));
                        prop_assert!(freed);
                    }
                }
                Op::Ranges { first, last } => {
                    let text = format!("{}-{}", net(first), net(last));
                    if addresses.set_network(&arc("blue"), &[subnet("10.0.0.0/27", None, &[&text])]).is_ok() {
                        range = (first, last);
                    } else {
                        let whole = [subnet("10.0.0.0/27", None, &[])];
                        prop_assert!(addresses.set_network(&arc("blue"), &whole).is_ok());
                        range = (0, 31);
                    }
                }
            }
            for (ip, uid) in &model {
                let holders: Vec<_> = addresses.others("blue", *ip, "").collect();
                prop_assert_eq!(holders, [format!("i{uid}")]);
            }
        }
    }
}
