use super::{Claim, Claimant, Claims, Elsewhere, Take};
use std::fs;
use std::path::Path;
use std::sync::Barrier;
use std::time::Duration;

const LEASE: Duration = Duration::from_millis(200);

/// Claims as another process makes them: on another machine, or on this one after its end.
fn claims_of(dir: &Path, change: impl Fn(&mut Claimant)) -> Claims {
    let mut claims = Claims::of(dir, LEASE);
    change(&mut claims.me);
    claims
}

fn remote(dir: &Path, host: &str) -> Claims {
    claims_of(dir, |me| (me.host, me.boot_id) = (host.to_owned(), format!("boot of {host}")))
}

#[track_caller]
fn taken(claims: &mut Claims) -> Claim {
    match claims.take(1).unwrap() {
        Take::Taken(claim) => claim,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn check_elsewhere(claims: &mut Claims, alive: bool) {
    match claims.take(1).unwrap() {
        Take::Elsewhere(Elsewhere { is_alive, .. }) => assert_eq!(is_alive, alive),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_live_claim_keeps_others_out_until_it_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Claims::of(dir.path(), LEASE);
    let mut second = Claims::of(dir.path(), LEASE);
    let claim = taken(&mut first);
    std::thread::sleep(LEASE * 2);
    // The kernel says that the process lives, so its silence means nothing.
    check_elsewhere(&mut second, true);
    claim.release().unwrap();
    taken(&mut second);
}

#[test]
fn the_claim_of_a_dead_process_of_this_machine_is_taken_over_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut dead = claims_of(dir.path(), |me| me.started_ticks += 1);
    let mut claim = taken(&mut dead);
    let next = taken(&mut Claims::of(dir.path(), LEASE));
    claim.every = Duration::ZERO;
    assert!(!claim.refresh().unwrap(), "it does not notice");
    assert!(next.path > claim.path);
}

#[test]
fn a_claim_of_another_machine_counts_while_it_shows_life_and_a_lease_longer() {
    let dir = tempfile::tempdir().unwrap();
    let mut far = taken(&mut remote(dir.path(), "far"));
    far.every = Duration::ZERO;
    let mut here = Claims::of(dir.path(), LEASE);
    check_elsewhere(&mut here, false);
    for _ in 0..5 {
        std::thread::sleep(LEASE / 2);
        assert!(far.refresh().unwrap());
        check_elsewhere(&mut here, true);
    }
    std::thread::sleep(LEASE + LEASE / 4);
    taken(&mut here);
    assert!(!far.refresh().unwrap());
}

#[test]
fn of_many_that_take_over_a_dead_claim_one_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=20 {
        let mut dead = claims_of(dir.path(), |me| me.started_ticks += 1);
        assert!(matches!(dead.take(round).unwrap(), Take::Taken(_)));
        let barrier = Barrier::new(4);
        let winners: usize = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..4)
                .map(|number| {
                    let (barrier, dir) = (&barrier, dir.path());
                    scope.spawn(move || {
                        let mut claims = Claims::of(dir, LEASE);
                        claims.me.host = format!("thread {number}");
                        barrier.wait();
                        usize::from(matches!(claims.take(round).unwrap(), Take::Taken(_)))
                    })
                })
                .collect();
            tries.into_iter().map(|tried| tried.join().unwrap()).sum()
        });
        assert_eq!(winners, 1, "round {round}");
    }
}

#[test]
fn a_claim_that_can_not_be_read_counts_for_a_lease() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("claims/000001");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("000001"), b"\xff{").unwrap();
    let mut claims = Claims::of(dir.path(), LEASE);
    check_elsewhere(&mut claims, false);
    std::thread::sleep(LEASE + LEASE / 4);
    assert!(taken(&mut claims).path.ends_with("000002"));
}

#[test]
fn a_claim_that_is_replaced_while_it_is_read_is_read_again() {
    let stale = || std::io::Error::from(std::io::ErrorKind::StaleNetworkFileHandle);
    let mut answers = vec![Ok(b"new".to_vec()), Err(stale()), Err(stale())];
    assert_eq!(super::read(|| answers.pop().unwrap()).unwrap(), b"new");
    let mut tries = 0;
    let error = super::read(|| {
        tries += 1;
        Err(stale())
    });
    assert!(error.is_err() && tries == super::READS, "{tries}");
}
