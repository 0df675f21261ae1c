//! Two deaths, drawn at random from all points of both programs: the second in what the first left to be done.

use std::time::{SystemTime, UNIX_EPOCH};

use kilonova_e2e::cloud::{inventory, lawful};
use serde_json::json;

use crate::{
    agent, controllers,
    stage::{Clock, Stage, Troupe},
};

/// Says which draw to play again.
const SEED_VARIABLE: &str = "KILONOVA_SEED";
/// How many lives are played.
const LIVES: usize = 8;
/// What each life goes through: the declared power and the reason that Ready has then.
const POWERS: [(&str, &str); 6] = [
    ("On", "Running"),
    ("Paused", "Paused"),
    ("Suspended", "Suspended"),
    ("Off", "Stopped"),
    ("On", "Running"),
    ("Off", "Stopped"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b51_two_deaths_in_a_row_at_random_and_the_law_holds() {
    let stage = Stage::start("faults-twice").await;
    stage.play(story(&stage)).await;
}

async fn story(stage: &Stage) {
    let mut draw = Draw::new();
    eprintln!("{SEED_VARIABLE}={} plays these lives again", draw.0);
    let lab = stage.cloud.lab();
    let troupe = Troupe::make(stage, "twice").await;
    lawful(&stage.cloud).await.unwrap();
    let alone = inventory(lab.node(0)).await.unwrap();
    let mut clock = Clock::start();
    let agents = points(agent::WAYS, |way| match way {
        agent::Way::Create => Some(0),
        agent::Way::Power(_) => Some(1),
        agent::Way::Delete => Some(2),
        _ => None,
    });
    let controllers = points(controllers::WAYS, |way| match way {
        controllers::Way::Create => Some(0),
        controllers::Way::Power => Some(1),
        controllers::Way::Delete => Some(2),
        _ => None,
    });
    let mut deaths = 0;
    let both = [lab.agent_failpoints(0), lab.controllers_failpoints(0)];
    for _ in 0..LIVES {
        let drawn = [two_of(&mut draw, &agents), two_of(&mut draw, &controllers)];
        for (points, drawn) in both.iter().zip(&drawn) {
            let drawn: Vec<_> = drawn.iter().map(String::as_str).collect();
            points.arm(&drawn).unwrap();
        }
        let what = format!("{drawn:?}");
        let web = troupe
            .create(
                &stage.name("web"),
                json!({"terminationGracePeriodSeconds": 1}),
            )
            .await;
        for (power, reason) in POWERS {
            web.power(power).await.unwrap();
            web.ready(reason)
                .await
                .unwrap_or_else(|e| panic!("{what}: {e}"));
        }
        lawful(&stage.cloud)
            .await
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        web.delete().await.unwrap();
        web.gone().await.unwrap_or_else(|e| panic!("{what}: {e}"));
        stage.as_before(&alone, &what).await;
        // After the first death there may be no need of the effect that the second waits for.
        let left: Vec<_> = both
            .iter()
            .flat_map(|points| points.left().unwrap())
            .collect();
        deaths += 4 - left.len();
        clock.say(&format!("{what}, left: {left:?}"));
    }
    assert!(deaths >= 2 * LIVES, "{deaths} deaths in {LIVES} lives");
}

/// The points of a life, in its order.
fn points<W: Copy>(ways: &[(&str, W)], part: impl Fn(W) -> Option<u8>) -> Vec<String> {
    let mut effects: Vec<_> = ways
        .iter()
        .filter_map(|(effect, way)| Some((part(*way)?, *effect)))
        .collect();
    effects.sort_by_key(|(part, _)| *part);
    let points = |(_, effect): (u8, &str)| [format!("{effect}/before"), format!("{effect}/after")];
    effects.into_iter().flat_map(points).collect()
}

/// Two of them, the earlier one first: the second counts from the first on.
fn two_of(draw: &mut Draw, points: &[String]) -> [String; 2] {
    let mut drawn = [draw.below(points.len()), draw.below(points.len())];
    drawn.sort_unstable();
    drawn.map(|index| points[index].clone())
}

/// A small generator of numbers that look random (Steele, Lea, Flood 2014: `SplitMix64`).
struct Draw(u64);

impl Draw {
    /// From the seed that is asked for, or from the time.
    fn new() -> Self {
        let given = std::env::var(SEED_VARIABLE).ok();
        let seed = given.map(|seed| seed.parse().expect("the seed is a number"));
        Self(seed.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            u64::from(now.subsec_nanos()) ^ now.as_secs()
        }))
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        usize::try_from(z % u64::try_from(end).unwrap()).unwrap()
    }
}
