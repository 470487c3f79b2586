package main

// work is one kind of load.
type work struct {
	name  string
	about string
	unit  string
	lower bool // less is better
	run   func(s setup, o options) ([]sample, error)
	peers []string // set-ups it can run over
}

// once makes a function that gives one sample one that gives a list.
func once(run func(setup, options) (sample, error)) func(setup, options) ([]sample, error) {
	return func(s setup, o options) ([]sample, error) {
		one, err := run(s, o)
		return []sample{one}, err
	}
}

var inProcess = []string{"weir", "gvisor/pipe", "gvisor/channel", "gvisor/gso", "gvisor/host-gso", "kernel/lo"}

var works = []work{
	{"bulk", "streams as fast as they go", "GB/s", false, once(bulk), append([]string{"kernel/veth", "kernel/veth-plain"}, inProcess...)},
	{"tun", "a stream between this kernel and a stack over TUN", "GB/s", false, once(bulk),
		[]string{"weir/tun", "weir/tun-plain", "gvisor/fdbased", "gvisor/fdbased-gro", "gvisor/vnet", "kernel/veth", "limit/read", "limit/write", "limit/tcp-in", "limit/tcp-out"}},
	{"rr", "one byte there and back again", "round trips/s", false, once(roundTrips), append([]string{"kernel/veth", "chan", "chan/work"}, inProcess...)},
	{"crr", "connect, 100 bytes there, 100 bytes back, close", "connections/s", false, once(connections), inProcess},
	{"udp", "datagrams of 64 bytes, a call each, counted when read", "datagrams/s", false, once(datagrams), inProcess},
	{"udpbatch", "datagrams of 64 bytes, 64 to a call where there is such a call", "datagrams/s", false, once(datagramBatches), inProcess},
	{"forward", "a stream through a router between two links", "GB/s", false, once(forward), []string{"weir", "gvisor/pipe"}},
	{"idle", "heap of established connections, and a full garbage collection beside them", "bytes per end", true, once(idle), inProcess},
	{"records", "heap of what is no connection yet, or no more", "bytes each", true, nil, []string{"weir/time-wait", "weir/time-wait-client", "weir/handshake"}},
	{"million", "connections that are all open at once: memory, an echo each, garbage collection, what stays when they are closed", "GB RSS", true, once(million), []string{"weir"}},
	{"binary", "a program that dials and listens, without symbols", "MB", true, once(binarySize), []string{"weir", "gvisor/pipe", "kernel/net", "nothing"}},
	{"lossy", "a stream over 100 Mbit/s with 20 ms and losses, BBR", "of the link", false, once(lossy), []string{"weir/emul", "weir/sim", "kernel/emul"}},
	{"conns", "segments of round trips over connections that take turns", "µs of processor time", true, costByConns, inProcess},
	{"timers", "a round trip, or a deadline moved, while timers run", "µs of processor time", true, costByTimers, append([]string{"weir/wheel", "go/timers"}, inProcess...)},
}

func findWork(name string) (work, bool) {
	for _, w := range works {
		if w.name == name {
			return w, true
		}
	}
	return work{}, false
}

// over does a work over a set-up, in this process.
func (w work) over(s setup, o options) ([]sample, error) {
	if special, ok := specials[s.name]; ok {
		return special(s, o)
	}
	return w.run(s, o)
}

// specials are set-ups that are no world: they do their one work themselves.
var specials = map[string]func(s setup, o options) ([]sample, error){
	"chan":                  once(pingPong),
	"chan/work":             once(busyPingPong),
	"limit/read":            once(limitRead),
	"limit/write":           once(limitWrite),
	"limit/tcp-in":          once(blastIn),
	"limit/tcp-out":         once(blastOut),
	"weir/time-wait":        timeWaits,
	"weir/time-wait-client": timeWaits,
	"weir/handshake":        handshakes,
	"weir/wheel":            wheelTimers,
	"go/timers":             goTimers,
}
