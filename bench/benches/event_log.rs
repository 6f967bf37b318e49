//! A boot log of 120 events with UEFI variables: reading, replay, rendering and policy `example`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use keylime_bench::reference_timing::{ReferenceTiming, best_of};
use keylime_engine::measured_boot::event_log::EventLog;
use keylime_engine::measured_boot::reference_state::{self, Flavour, Options, SecureBootRule};
use keylime_engine::measured_boot::replay::ReplayedPcrs;
use keylime_engine::measured_boot::{BootPolicies, ParsedBootLog};
use keylime_engine::tpm::pcr_mask::PcrMask;
use std::hint::black_box;

const LOG: &[u8] = include_bytes!("../../tests/vectors/eventlogs/bios_sb.bin");

/// Events in the log, with its header.
const EVENTS: usize = 120;

/// A real log of 99 events, filled up with commands of the boot loader, of which other machines have more.
fn log() -> Vec<u8> {
    let parsed = EventLog::parse(LOG).expect("the log can be read");
    let is_command = |text: &[u8]| text.starts_with(b"grub_cmd: ");
    let command = parsed.events.iter().find(|event| is_command(event.data)).expect("the log has a command");
    let command = &LOG[command.offset..command.offset + command.length];
    let mut log = LOG.to_vec();
    for _ in parsed.events.len() + 1..EVENTS {
        log.extend(command);
    }
    log
}

fn event_log(criterion: &mut Criterion) {
    let log = log();
    let options = Options { flavour: Flavour::KeylimePolicy, secure_boot: SecureBootRule::Required };
    let state = reference_state::create(&log, options).expect("a reference state can be made").state;
    let policy = BootPolicies::built_in(BootPolicies::EXAMPLE).compile(Some(&state.to_string()));
    let judged = PcrMask::of(0..24);
    let parsed = ParsedBootLog::parse(&log).expect("the log can be read");
    assert_eq!((parsed.events().len(), policy.evaluate(Some(&parsed), judged)), (EVENTS, None));
    let mut group = criterion.benchmark_group("event_log");
    group.throughput(Throughput::Elements(EVENTS as u64));
    group.bench_function("split", |bencher| {
        bencher.iter(|| EventLog::parse(black_box(&log)).map(|log| log.events.len()))
    });
    let split = EventLog::parse(&log).expect("the log can be read");
    group.bench_function("replay", |bencher| bencher.iter(|| ReplayedPcrs::of(black_box(&split))));
    group.bench_function("read_replay_render", |bencher| bencher.iter(|| ParsedBootLog::parse(black_box(&log))));
    group.bench_function("example", |bencher| bencher.iter(|| policy.evaluate(Some(black_box(&parsed)), judged)));
    group.bench_function("whole", |bencher| {
        bencher.iter(|| {
            let parsed = ParsedBootLog::parse(black_box(&log)).expect("the log can be read");
            policy.evaluate(Some(&parsed), judged)
        });
    });
    group.bench_function("compile_reference_state", |bencher| {
        let text = state.to_string();
        bencher.iter(|| BootPolicies::built_in(BootPolicies::EXAMPLE).compile(Some(black_box(&text))));
    });
    group.finish();

    let text = state.to_string();
    let files: [(&str, &[u8]); 2] = [("boot.bin", &log), ("refstate.json", text.as_bytes())];
    let Some(timing) = ReferenceTiming::measure(&files).expect("the reference reads the log") else { return };
    let whole = || policy.evaluate(Some(&ParsedBootLog::parse(black_box(&log)).expect("readable")), judged);
    timing.compare("event_log", best_of(200, whole));
}

criterion_group!(benches, event_log);
criterion_main!(benches);
