//! What the deaths of one program are played on.

use std::{collections::BTreeSet, marker::PhantomData};

use kilonova_e2e::{
    cloud::{inventory, lawful},
    lab::Failpoints,
};

use crate::stage::{Clock, Stage, Troupe};

/// The deaths of a program; what each is like is for who names the program.
pub struct Play<'a, Program> {
    pub stage: &'a Stage,
    pub troupe: Troupe<'a>,
    pub failpoints: Failpoints,
    /// What is on the node with the neighbour alone.
    pub alone: BTreeSet<String>,
    pub clock: Clock,
    program: PhantomData<Program>,
}

impl<'a, Program> Play<'a, Program> {
    /// A troupe of that name, for a program that has an effect for each of the ways, and no other.
    pub async fn begin(
        stage: &'a Stage,
        name: &str,
        failpoints: Failpoints,
        effects: impl Iterator<Item = &str>,
    ) -> Self {
        let troupe = Troupe::make(stage, name).await;
        lawful(&stage.cloud).await.unwrap();
        every_effect_has_a_way(&failpoints, effects);
        Self {
            stage,
            troupe,
            failpoints,
            alone: inventory(stage.cloud.lab().node(0)).await.unwrap(),
            clock: Clock::start(),
            program: PhantomData,
        }
    }
}

/// That the program has no effect without a way to it, and that there is no way to one that it does not have.
fn every_effect_has_a_way<'a>(failpoints: &Failpoints, effects: impl Iterator<Item = &'a str>) {
    let points = failpoints.all().unwrap();
    let there: BTreeSet<_> = points.iter().map(String::as_str).collect();
    let ways: Vec<_> = effects
        .flat_map(|e| [format!("{e}/before"), format!("{e}/after")])
        .collect();
    let ways: BTreeSet<_> = ways.iter().map(String::as_str).collect();
    assert_eq!(there, ways, "effects of the program, and ways to them");
}
