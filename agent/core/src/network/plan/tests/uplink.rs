//! The uplink: where there is a NIC for it, and where there is none that may be taken.

use super::*;
use crate::network::tests::vlan;

/// What stands against an uplink, and what is said of it.
type Cause = (fn(&mut Model), &'static str);

impl Model {
    pub fn uplink_step(&mut self, step: Step) {
        let mut nic = self.node.nic.clone().unwrap().unwrap();
        match step {
            Step::SilenceNic(name) => assert_eq!(nic.name, name),
            Step::RaiseNic(name) => {
                assert_eq!(nic.name, name);
                nic.up = true;
                self.node.nic = Some(Ok(nic));
            }
            Step::MakeUplink(name, vlan) => {
                assert!(nic.up && nic.name == name);
                let mut link = self.link(vlan.map_or(LinkKind::Macvlan, LinkKind::Vlan));
                link.lower = Some(nic.index);
                let old = self.links(Place::Segment).insert(UPLINK.to_owned(), link);
                assert_eq!(old, None);
            }
            other => panic!("{other:?}"),
        }
    }
}

fn has_address(nic: &mut NicObserved) {
    nic.addresses = vec!["192.0.2.2/24".parse().unwrap()];
}

/// A node with a NIC in the physical network, and a Segment in a VLAN of it.
fn joined() -> (Model, SegmentDesired) {
    let mut wanted = segment();
    wanted.uplink = Some(vlan(104));
    let mut model = Model::default();
    model.node.nic = Some(Ok(nic()));
    model.ensure(&wanted);
    model.plug();
    assert_eq!(model.plan(&wanted), []);
    (model, wanted)
}

fn nic() -> NicObserved {
    NicObserved {
        name: "eth1".to_owned(),
        index: 77,
        mtu: 1500,
        up: false,
        is_ethernet: true,
        master: None,
        addresses: Vec::new(),
        routes: Vec::new(),
    }
}

/// Changes a NIC that is there.
fn change_nic(model: &mut Model, change: impl FnOnce(&mut NicObserved)) {
    change(model.node.nic.as_mut().unwrap().as_mut().unwrap());
}

#[test]
fn an_uplink_that_is_damaged_is_made_again() {
    let damages: [fn(&mut Model); 8] = [
        |m| m.remove(Place::Segment, UPLINK),
        |m| m.remove(Place::Segment, BRIDGE),
        |m| m.links(Place::Segment).get_mut(UPLINK).unwrap().up = false,
        |m| m.links(Place::Segment).get_mut(UPLINK).unwrap().master = None,
        |m| m.links(Place::Segment).get_mut(UPLINK).unwrap().mtu = 1280,
        |m| m.links(Place::Segment).get_mut(UPLINK).unwrap().kind = LinkKind::Vlan(105),
        |m| change_nic(m, |nic| nic.index = 78),
        |m| change_nic(m, |nic| nic.up = false),
    ];
    for damage in damages {
        let (mut model, wanted) = joined();
        damage(&mut model);
        assert_ne!(model.plan(&wanted), []);
        model.ensure(&wanted);
        let links = model.links(Place::Segment);
        assert_eq!(links[UPLINK].master, Some(links[BRIDGE].index));
        assert_eq!(links[UPLINK].mtu, wanted.mtu);
    }
}

#[test]
fn all_else_is_done_before_the_uplink() {
    let mut model = Model::default();
    model.node.nic = Some(Ok(nic()));
    let mut wanted = segment();
    wanted.uplink = Some(vlan(104));
    let steps = model.plan(&wanted);
    let at = |step: fn(&Step) -> bool| steps.iter().position(step).unwrap();
    let order = [
        at(|s| matches!(s, Step::ApplyRules(_))),
        at(|s| matches!(s, Step::MakeBridge(_))),
        at(|s| matches!(s, Step::Serve(_))),
        at(|s| matches!(s, Step::SilenceNic(_))),
        at(|s| matches!(s, Step::RaiseNic(_))),
        at(|s| matches!(s, Step::MakeUplink(..))),
        at(|s| matches!(s, Step::Enslave(_))),
    ];
    assert!(order.is_sorted(), "{steps:#?}");
}

#[test]
fn a_nic_that_is_the_nodes_own_is_not_touched_and_all_else_is_done() {
    let troubles: [Cause; 5] = [
        (|m| m.node.nic = None, "no NIC in physical network physnet1"),
        (
            |m| m.node.nic = Some(Err(NicFault::Missing("eth1".to_owned()))),
            "there is no NIC eth1",
        ),
        (
            |m| change_nic(m, has_address),
            "carries the address 192.0.2.2/24",
        ),
        (
            |m| change_nic(m, |nic| nic.master = Some("bond0".to_owned())),
            "is a port of bond0",
        ),
        (
            |m| change_nic(m, |nic| nic.mtu = 1280),
            "packets of 1280 bytes, and the network's MTU is 1450",
        ),
    ];
    let mut wanted = segment();
    wanted.uplink = Some(vlan(104));
    for (cause, says) in troubles {
        let mut model = Model::default();
        model.node.nic = Some(Ok(nic()));
        cause(&mut model);
        let Plan { steps, lacks } = model.whole_plan(&wanted);
        let [lack] = &lacks[..] else {
            panic!("{lacks:?}");
        };
        assert!(lack.to_string().contains(says), "{lack}");
        for step in steps {
            assert!(!matches!(step, Step::RaiseNic(_) | Step::MakeUplink(..)));
            model.step(step);
        }
        let rest = model.whole_plan(&wanted);
        assert_eq!(rest.steps, [], "{says}: the rest is done");
        assert!(model.links(Place::Segment).contains_key(BRIDGE));
        assert!(model.segment.unwrap().dhcp.is_some());
    }
}

#[test]
fn a_nic_in_use_stays_so_when_it_gets_an_address() {
    let (mut model, wanted) = joined();
    change_nic(&mut model, has_address);
    assert_eq!(model.plan(&wanted), []);
}

#[test]
fn an_uplink_that_works_stays_until_the_new_nic_is_known_to_do() {
    let faults: [fn(&mut NicObserved); 2] = [has_address, |nic| nic.mtu = 1280];
    for fault in faults {
        let (mut model, wanted) = joined();
        change_nic(&mut model, |nic| {
            (nic.name, nic.index) = ("eth2".to_owned(), 78);
            fault(nic);
        });
        let Plan { steps, lacks } = model.whole_plan(&wanted);
        assert_eq!((steps, lacks.len()), (Vec::new(), 1));
        // On a bridge that is made anew it is plugged again.
        model.remove(Place::Segment, BRIDGE);
        for step in model.whole_plan(&wanted).steps {
            model.step(step);
        }
        let links = model.links(Place::Segment);
        assert_eq!(links[UPLINK].master, Some(links[BRIDGE].index));
        change_nic(&mut model, |nic| {
            (nic.addresses, nic.mtu) = (Vec::new(), 1500);
        });
        model.ensure(&wanted);
        assert_eq!(model.links(Place::Segment)[UPLINK].lower, Some(78));
    }
}

#[test]
fn an_uplink_to_the_wrong_frames_goes_whatever_becomes_of_the_nic() {
    let missing = Err(NicFault::Missing("eth1".to_owned()));
    for nic in [None, Some(missing)] {
        let (mut model, mut wanted) = joined();
        model.node.nic = nic;
        wanted.uplink = Some(vlan(105));
        let Plan { steps, lacks } = model.whole_plan(&wanted);
        let gone = Step::RemoveLink(Place::Segment, UPLINK.to_owned());
        assert_eq!((steps, lacks.len()), (vec![gone], 1));
    }
}

#[test]
fn one_lack_hides_no_other() {
    let mut wanted = segment();
    wanted.uplink = Some(vlan(104));
    let mut reach = reach();
    reach.transit = "100.127.0.0/30".parse().unwrap();
    let mut model = Model::default();
    let mut other = model.link(LinkKind::Veth);
    other.addresses = ["100.127.0.1/30", "100.127.0.2/30"]
        .map(|address| address.parse().unwrap())
        .into();
    let links = &mut model.node.links;
    links.insert("other".to_owned(), other);
    let Plan { lacks, .. } = plan(&wanted, None, &model.node, &reach, &files());
    assert!(
        matches!(lacks[..], [Lack::Transit(_), Lack::Nic(_)]),
        "{lacks:?}"
    );
}
