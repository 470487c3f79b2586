package stack

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/weirnet/weir/link/loop"
	"github.com/weirnet/weir/link/pipe"
	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/wire"
)

// checkBudget sees that no more is used than the budget, and what packets that are being taken may exceed it by.
func checkBudget(t *testing.T, s *Stack, packets int64) {
	t.Helper()
	const footprint = 2 * (64<<10 + 512) // of 64 KiB in two chunks
	if used, budget := s.Memory(); used > budget+packets*footprint {
		t.Errorf("%d bytes are used of a budget of %d", used, budget)
	}
}

// A small budget makes transfers slow, but neither ends them nor is it exceeded by more than the one packet that is being taken.
func TestTransfersWithinASmallBudget(t *testing.T) {
	for name, o := range map[string]pipe.Options{"super-segments": {MTU: 65535}, "MTU 1500": {MTU: 1500, NoOffload: true}} {
		for _, memory := range []int64{1, 300 << 10, 1 << 20} { // the first counts as the least that there is
			t.Run(fmt.Sprintf("%s/%d", name, memory), func(t *testing.T) {
				da, db := pipe.New(o)
				w := joinWorld(t, da, db, Config{}, Config{Memory: memory})
				client, server := w.pair()
				server.SetNotifier(&app{run: func(Ready) { checkBudget(t, w.b, 1) }})
				w.transfer(client, server, randomBytes(1<<20))
				w.transfer(server, client, randomBytes(1<<20))
			})
		}
	}
}

// Both ends of a connection, and many of them, within one budget: senders leave enough for receivers.
func TestLoopbackWithinASmallBudget(t *testing.T) {
	for _, memory := range []int64{1, 500 << 10} {
		h := newHost(t, Config{Memory: memory})
		_, err := h.AddInterface(InterfaceConfig{
			Device: loop.New(loop.Options{}), Loopback: true, Addrs: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")},
		})
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, clock: h.clock, a: h.Stack, b: h.Stack}
		_, accept := h.listenTCP("127.0.0.1:80", ListenOptions{})
		type pair struct {
			client, server *TCP
			left, got      int
		}
		var all []*pair
		for range 10 {
			c := newSocket(&app{})
			if err := h.ConnectTCP(c, port("127.0.0.1:80"), Bound{}); err != nil {
				t.Fatal(err)
			}
			all = append(all, &pair{client: c, server: accept(), left: 200_000})
		}
		buf := make([]byte, 200_000)
		done := 0
		for limit := h.clock.Now().Add(time.Hour); done < len(all) && h.clock.Now() < limit; {
			for _, p := range all { // all write before anybody reads
				n, err := p.client.Write(buf[:p.left])
				if p.left -= n; err != nil && err != ErrWouldBlock {
					t.Fatal(err)
				}
				checkBudget(t, h.Stack, 1)
			}
			for _, p := range all {
				n, _ := p.server.Read(buf)
				if p.got += n; n > 0 && p.got == 200_000 {
					done++
				}
			}
			w.clock.Step()
		}
		if done != len(all) {
			t.Errorf("memory %d: %d of %d transfers ended in an hour", memory, done, len(all))
		}
	}
}

// fill has n connections, whose servers do not read, hold data until the client can send no more.
func (w *world) fill(n int) (clients, servers []*TCP) {
	w.t.Helper()
	bytes := make([]byte, 1)
	if raceEnabled { // which makes one byte at a time too slow
		bytes = make([]byte, 40)
	}
	for range n {
		c, s := w.pair()
		for {
			if k, _ := c.Write(bytes); k == 0 {
				break
			}
		}
		clients, servers = append(clients, c), append(servers, s)
	}
	return clients, servers
}

// Data that piles up unread, a byte at a time, stays within the budgets of both ends, charged at the capacity of what it pins.
func TestUnreadBytesStayWithinTheBudget(t *testing.T) {
	for name, o := range map[string]pipe.Options{"super-segments": {MTU: 65535}, "MTU 1500": {MTU: 1500, NoOffload: true}} {
		t.Run(name, func(t *testing.T) {
			const budget = leastMemory
			da, db := pipe.New(o)
			w := joinWorld(t, da, db, Config{Memory: budget}, Config{Memory: budget})
			w.fill(8)
			for _, s := range []*Stack{w.a, w.b} {
				checkBudget(t, s, 0)
			}
			_, a := w.a.Packets().Buffers().Outstanding()
			_, b := w.b.Packets().Buffers().Outstanding()
			if a+b > 2*budget {
				t.Errorf("%d bytes of memory are in use, the budgets are %d", a+b, 2*budget)
			}
		})
	}
}

// fillUp writes until no more is taken.
func fillUp(t *TCP) {
	for b := make([]byte, 10_000); ; {
		if n, _ := t.Write(b); n == 0 {
			return
		}
	}
}

// Whoever was refused for want of memory is woken when another socket gives some back.
func TestMemoryGivenBackWakesWriters(t *testing.T) {
	for name, give := range map[string]func(w *world, hog, peer *TCP){
		"acknowledged": func(w *world, hog, peer *TCP) {
			for range 100 {
				for {
					if _, err := peer.Read(make([]byte, 64<<10)); err != nil {
						break
					}
				}
				w.clock.Step()
			}
		},
		"aborted": func(w *world, hog, peer *TCP) { _ = hog.Abort() },
		"reset":   func(w *world, hog, peer *TCP) { _ = peer.Abort() },
	} {
		for _, least := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, least %v", name, least), func(t *testing.T) {
				da, db := pipe.New(pipe.Options{NoOffload: true})
				w := joinWorld(t, da, db, Config{}, Config{Memory: 1 << 20})
				_, writer := w.pair()
				if !least { // it holds more than its minimum: its peer does not read
					write(t, writer, string(randomBytes(64<<10)))
					write(t, writer, string(randomBytes(pressedRoom+4<<10)))
				}
				peer, hog := w.pair()
				fillUp(hog)
				for w.b.memory.sent.used.Load() <= w.b.memory.sent.firm()-pressedRoom { // others take their minimum
					_, other := w.pair()
					fillUp(other)
				}
				told := &app{}
				writer.SetNotifier(told)
				fillUp(writer)
				told.ready = 0
				if give(w, hog, peer); told.ready&WriteReady == 0 {
					t.Fatal("the writer was not woken")
				}
				if n, err := writer.Write([]byte("x")); n != 1 {
					t.Errorf("Write when there is memory again: %v", err)
				}
			})
		}
	}
}

// Data behind a hole, which no reader can take, is not kept beyond the budget: what fills the hole is.
func TestDataBehindHolesStaysWithinTheBudget(t *testing.T) {
	const budget = leastMemory
	h := newHost(t, Config{Memory: budget})
	_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24")
	_, accept := h.listenTCP("192.0.2.1:80", ListenOptions{})
	var peers []*peer
	var servers []*TCP
	data := string(randomBytes(1400))
	for n := range 16 {
		p := h.dial(d, fmt.Sprintf("192.0.2.9:%d", n+1), "192.0.2.1:80")
		peers, servers = append(peers, p), append(servers, accept())
		p.seq += 1400
		for range 40 {
			p.send(wire.ACK, data)
			d.take()
		}
		p.seq -= 41 * 1400
	}
	if used, _ := h.Memory(); used > budget/2*7/8+2048 || used < budget/4 {
		t.Errorf("%d bytes are used of a budget of %d", used, budget)
	}
	for i, p := range peers {
		p.send(wire.ACK, data)
		if n, err := servers[i].Read(make([]byte, 1<<16)); n < 1400 {
			t.Errorf("connection %d: read %d in order: %v", i, n, err)
		}
	}
	if n := h.Stats().TCP.MemoryDrops; n == 0 {
		t.Error("no drops are counted")
	}
}

// An acknowledgment counts although there is no memory for the data that it came with: it gives memory back.
func TestAcknowledgmentsCountUnderPressure(t *testing.T) {
	h := newHost(t, Config{})
	_, d := h.attach(InterfaceConfig{}, "192.0.2.1/24")
	c, p := h.connect(d, "192.0.2.9:80", Bound{})
	write(t, c, "data")
	p.receive()
	m := &h.memory.received
	m.charge(int(m.budget))
	p.send(wire.ACK|wire.PSH|wire.FIN, "more")
	if i := c.Info(); i.SendQueue != 0 || i.ReceiveQueue != 0 || h.Stats().TCP.MemoryDrops != 1 {
		t.Errorf("with an ACK and data for which there is no memory: %+v", i)
	}
	m.charge(-int(m.budget))
	p.seq -= 4
	p.send(wire.ACK|wire.PSH, "more")
	if i := c.Info(); i.ReceiveQueue != 4 || i.State != tcp.Established {
		t.Errorf("when there is memory again: %+v", i)
	}
}

// A few may hold much, and many the less the more they are: who comes last still finds room, and no segment had to be refused.
func TestMemoryIsSharedFairly(t *testing.T) {
	da, db := pipe.New(pipe.Options{NoOffload: true})
	w := joinWorld(t, da, db, Config{}, Config{Memory: 4 << 20})
	m := &w.b.memory.sent
	var first, last *TCP
	for n := range 12 {
		_, writer := w.pair() // whose peer does not read
		_ = writer.SetBuffers(4<<20, 0)
		fillUp(writer)
		if first == nil {
			first = writer
		}
		last = writer
		if used := m.used.Load(); used > m.firm() {
			t.Fatalf("%d connections hold %d bytes, at most %d are for them", n+1, used, m.firm())
		}
	}
	if half := int(m.soft())/2 + writeSlice; int(first.sent) > half {
		t.Errorf("the first holds %d bytes, half of what there is are %d", first.sent, half)
	}
	if last.sent == 0 || last.conn.SendQueue() == 0 {
		t.Error("the last found no room")
	}
}
