package stack

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/pipe"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
)

// gate is a device that can be full.
type gate struct {
	link.Device
	sink link.Sink
	mu   sync.Mutex
	shut bool
}

func (g *gate) Attach(s link.Sink) error {
	g.sink = s
	return g.Device.Attach(s)
}

func (g *gate) WritePackets(queue int, batch []*packet.Packet) (int, error) {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut {
		return 0, link.ErrFull
	}
	return g.Device.WritePackets(queue, batch)
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	g.shut = shut
	g.mu.Unlock()
	if !shut {
		g.sink.Writable(0)
	}
}

// greedyWorld is a world whose a sends through a gate, with n connections that may send very much at once: cwnd and window are wide open.
func greedyWorld(t *testing.T, n int) (w *world, g *gate, clients, servers []*TCP) {
	da, db := pipe.New(pipe.Options{NoOffload: true})
	g = &gate{Device: da}
	w = joinWorld(t, g, db, Config{}, Config{})
	for range n {
		c, s := w.pair()
		_ = c.SetBuffers(4<<20, 0)
		_ = s.SetBuffers(0, 4<<20)
		clients, servers = append(clients, c), append(servers, s)
	}
	for i := range clients {
		w.transfer(clients[i], servers[i], randomBytes(4<<20))
	}
	return w, g, clients, servers
}

// takeAll takes all that can be read, and returns how much.
func takeAll(t *TCP) (all int) {
	for buf := make([]byte, 64<<10); ; {
		n, err := t.Read(buf)
		if all += n; err != nil {
			return all
		}
	}
}

// When greedy connections have filled a transmit queue, whoever comes then waits for what is queued and for one turn of each, not for all
// that they have; and nobody is forgotten.
func TestGreedyConnectionsKeepNobodyOut(t *testing.T) {
	const hogs = 6 // more than have room
	w, g, clients, servers := greedyWorld(t, hogs+1)
	q := clients[0].iface.queue(clients[0].hash)
	g.set(true)
	sent, queued := make([]int, hogs), make([]int, hogs)
	waiting := 0
	for i := range hogs {
		sent[i], _ = clients[i].Write(make([]byte, 2<<20))
		queued[i] = sent[i] - clients[i].conn.Unsent()
		if clients[i].waiting {
			waiting++
		}
	}
	if waiting < 2 {
		t.Fatalf("%d of the greedy ones wait", waiting)
	}
	if used := q.bytes.Load(); used < txLimit || used > txLimit+64<<10 {
		t.Fatalf("%d bytes are queued", used)
	}
	last := clients[hogs]
	write(t, last, "hello")
	if !last.waiting {
		t.Fatal("the last found room in a full queue")
	}
	before := make([]int, hogs)
	met := false
	servers[hogs].SetNotifier(&app{run: func(Ready) {
		met = true
		for i := range before {
			before[i] = servers[i].conn.ReadSize()
		}
	}})
	g.set(false)
	for range 1000 {
		w.clock.Step()
	}
	if !met {
		t.Fatal("the last never had its turn")
	}
	for i, n := range before {
		if n > queued[i]+txBurst+64<<10 {
			t.Errorf("%d bytes of connection %d went before the last had its turn; %d were queued", n, i, queued[i])
		}
	}
	for i := range hogs {
		got := takeAll(servers[i])
		for n := 0; got < sent[i] && n < 1000; n++ {
			w.clock.Step()
			got += takeAll(servers[i])
		}
		if got != sent[i] {
			t.Errorf("connection %d: %d of %d bytes have arrived", i, got, sent[i])
		}
	}
}

// Many receivers, of which some read at once, some late and some little at a time, share a small budget: it is kept to, all finish, none
// waits for long for its next byte while it reads, and all memory comes back.
func TestManyReceiversShareTheMemory(t *testing.T) {
	for _, memory := range []int64{leastMemory, 2 << 20} {
		t.Run(fmt.Sprint(memory), func(t *testing.T) {
			da, db := pipe.New(pipe.Options{NoOffload: true})
			w := joinWorld(t, da, db, Config{}, Config{Memory: memory})
			r := &receivers{world: w}
			for i := range 48 {
				c, s := w.pair()
				r.all = append(r.all, &receiver{client: c, server: s, kind: i % 3, left: 200_000})
			}
			for _, k := range r.all {
				k.begun, k.last = w.clock.Now(), w.clock.Now()
			}
			r.run()
			for i, k := range r.all {
				if k.got != 200_000 {
					t.Errorf("receiver %d has got %d bytes", i, k.got)
				}
			}
			if r.longest > 5*time.Second { // a few timeouts
				t.Errorf("somebody who reads has waited for %v", r.longest)
			}
			if w.b.Stats().TCP.MemoryDrops == 0 {
				t.Error("no segment was refused: the budget is not small")
			}
			if used, _ := w.b.Memory(); used != 0 {
				t.Errorf("%d bytes are charged when all was read", used)
			}
		})
	}
}

type receivers struct {
	*world
	all     []*receiver
	longest time.Duration // that a receiver has waited for a byte
}

type receiver struct {
	client, server  *TCP
	kind, left, got int
	begun, last     sched.Time // when it got something
}

// run goes on until all have what was sent, or for an hour.
func (r *receivers) run() {
	bytes := make([]byte, 200_000)
	for round, limit := 0, r.clock.Now().Add(time.Hour); r.clock.Now() < limit; round++ {
		done := 0
		for _, k := range r.all {
			n, err := k.client.Write(bytes[:k.left])
			if k.left -= n; err != nil && err != ErrWouldBlock {
				r.t.Fatal(err)
			}
		}
		checkBudget(r.t, r.b, 1)
		for _, k := range r.all {
			r.read(k, bytes)
			if k.got == len(bytes) {
				done++
			}
		}
		if done == len(r.all) || !r.clock.Step() {
			return
		}
	}
}

// read reads as its kind does: all there is, all there is from the fifth second on, or 3000 bytes at a time.
func (r *receivers) read(k *receiver, buf []byte) {
	now := r.clock.Now()
	switch k.kind {
	case 1:
		if now.Sub(k.begun) < 5*time.Second {
			k.last = now
			return
		}
	case 2:
		buf = buf[:3000]
	}
	if n, _ := k.server.Read(buf); n > 0 {
		r.longest = max(r.longest, now.Sub(k.last))
		k.got, k.last = k.got+n, now
	}
}
