//! What this crate relies on in actix: a new version of it must not change any of this unseen.

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, WrapFuture};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

type Journal = Rc<RefCell<Vec<String>>>;

struct Probe {
    journal: Journal,
    _guard: Guard,
}

struct Guard(Journal);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.borrow_mut().push("dropped".to_owned());
    }
}

impl Actor for Probe {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
enum Poke {
    Note(u32),
    Panic,
    Stop,
    Later(u64),
}

impl Handler<Poke> for Probe {
    type Result = ();

    fn handle(&mut self, poke: Poke, ctx: &mut Context<Self>) {
        match poke {
            Poke::Note(n) => self.journal.borrow_mut().push(n.to_string()),
            Poke::Panic => panic!("scripted panic"),
            Poke::Stop => ctx.stop(),
            Poke::Later(millis) => {
                ctx.run_later(Duration::from_millis(millis), move |probe, _| {
                    probe.journal.borrow_mut().push(format!("after {millis}"));
                });
            }
        }
    }
}

fn on_paused_time<F: Future<Output = ()>>(body: impl FnOnce(Journal) -> F) {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    actix_rt::System::with_tokio_rt(runtime).block_on(body(Journal::default()));
}

fn probe(journal: &Journal) -> actix::Addr<Probe> {
    Probe { journal: Rc::clone(journal), _guard: Guard(Rc::clone(journal)) }.start()
}

#[test]
fn a_panic_ends_the_actor_drops_its_value_and_leaves_the_thread_alive() {
    on_paused_time(|journal| async move {
        let (victim, neighbour) = (probe(&journal), probe(&Journal::default()));
        assert!(victim.send(Poke::Panic).await.is_err());
        tokio::task::yield_now().await;
        assert!(!victim.connected());
        assert_eq!(*journal.borrow(), ["dropped"]);
        neighbour.send(Poke::Note(1)).await.unwrap();
    });
}

#[test]
fn messages_of_one_sender_keep_their_order() {
    on_paused_time(|journal| async move {
        let address = probe(&journal);
        for n in 0..100 {
            address.do_send(Poke::Note(n));
        }
        address.send(Poke::Note(100)).await.unwrap();
        let expected: Vec<String> = (0..=100).map(|n| n.to_string()).collect();
        assert_eq!(*journal.borrow(), expected);
    });
}

#[test]
fn a_bounded_send_says_full_and_an_exit_notice_never_does() {
    on_paused_time(|journal| async move {
        let address = Probe::create(|ctx| {
            ctx.set_mailbox_capacity(2);
            Probe { journal: Rc::clone(&journal), _guard: Guard(Rc::clone(&journal)) }
        });
        let accepted = (0..100).filter(|n| address.try_send(Poke::Note(*n)).is_ok()).count();
        assert!(accepted < 10, "{accepted} messages were accepted");
        address.do_send(Poke::Note(1000));
        address.send(Poke::Note(1001)).await.unwrap();
        assert!(journal.borrow().contains(&"1000".to_owned()));
    });
}

#[test]
fn timers_follow_paused_time_and_end_with_a_deliberate_stop() {
    on_paused_time(|journal| async move {
        let address = probe(&journal);
        address.send(Poke::Later(5_000)).await.unwrap();
        address.send(Poke::Later(3_600_000)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(*journal.borrow(), ["after 5000"]);
        address.do_send(Poke::Stop);
        tokio::time::sleep(Duration::from_secs(7200)).await;
        assert_eq!(*journal.borrow(), ["after 5000", "dropped"]);
    });
}

#[test]
fn a_spawned_future_keeps_the_actor_alive_after_its_last_address_is_gone() {
    on_paused_time(|journal| async move {
        let address = probe(&journal);
        address.send(Poke::Later(1_000)).await.unwrap();
        drop(address);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(journal.borrow().is_empty());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(*journal.borrow(), ["after 1000", "dropped"]);
    });
}

#[test]
fn futures_of_an_actor_run_between_its_messages_not_during_them() {
    on_paused_time(|journal| async move {
        let noted = Rc::clone(&journal);
        let address = Probe::create(move |ctx| {
            let inner = Rc::clone(&noted);
            ctx.spawn(
                async move { inner.borrow_mut().push("future".to_owned()) }
                    .into_actor(&Probe { journal: Journal::default(), _guard: Guard(Journal::default()) }),
            );
            Probe { journal: Rc::clone(&noted), _guard: Guard(noted) }
        });
        address.send(Poke::Note(1)).await.unwrap();
        assert_eq!(journal.borrow().len(), 2);
    });
}
