// Package sim is a seeded world: hosts, routers, and links as bad as one likes, in one goroutine under a virtual clock. The hosts are real
// stacks, with all that package weir has under it; only time, wires and applications are the world's. A seed replays exactly.
//
// An experiment reads like its description:
//
//	w := sim.New(sim.Config{Seed: 1})
//	server, client, router := w.Host("server", sim.HostConfig{}), w.Host("client", sim.HostConfig{}), w.Router("router")
//	w.Link(server, router, sim.LinkConfig{})
//	bottleneck := w.Link(router, client, sim.LinkConfig{
//		There: emul.Config{Rate: 100e6, Delay: 10 * time.Millisecond, Queue: 250_000},
//		Back:  emul.Config{Delay: 10 * time.Millisecond},
//	})
//	one := w.Flow(server, client, sim.Bulk{Congestion: "cubic"})
//	two := w.Flow(server, client, sim.Bulk{Congestion: "reno", Start: time.Second})
//	w.Every(100*time.Millisecond, func() bool {
//		fmt.Println(w.Now(), one.Sender.Info().Cwnd, bottleneck.There.Waiting())
//		return true
//	})
//	if err := w.Run(5 * time.Second); err != nil { // start-up
//		…
//	}
//	from := one.Stats()
//	err := w.Run(20 * time.Second)
//	fmt.Println(one.Stats().Since(from).Goodput(), one.Stats().Retransmits, two.Stats())
//
// Applications of one's own are functions that are called when their connection may have become ready: see Host.Dial, Host.Listen and Conn.
//
// After each event the world checks its invariants, and stands still at the first that is broken (Run's error, which names the seed):
//
//   - what is received is what was sent, and the stream ends where the sender ended it;
//   - nobody sends beyond the window that he was offered, more than the peer's MSS, or with a gap; nobody acknowledges what was not sent;
//     nobody takes back a window or an acknowledgment;
//   - no stall: whoever owes his peer something does the next thing about it within a retransmission timeout (see progress in check.go for
//     what exactly that means);
//   - no timer fires after its deadline, and no stack holds more memory than its budget;
//   - when the world is closed, nothing has leaked.
package sim
