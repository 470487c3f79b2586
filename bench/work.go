package main

// work is one kind of load.
type work struct {
	name  string
	about string
	unit  string
	lower bool // less is better
	run   func(s setup, o options) (sample, error)
	peers []string // set-ups it can run over
}

var inProcess = []string{"weir", "gvisor/pipe", "gvisor/channel", "gvisor/gso", "gvisor/host-gso", "kernel/lo"}

var works = []work{
	{"bulk", "streams as fast as they go", "GB/s", false, bulk, append([]string{"kernel/veth", "kernel/veth-plain"}, inProcess...)},
	{"tun", "a stream between this kernel and a stack over TUN", "GB/s", false, bulk,
		[]string{"weir/tun", "weir/tun-plain", "gvisor/fdbased", "gvisor/vnet", "kernel/veth"}},
	{"rr", "one byte there and back again", "round trips/s", false, roundTrips, append([]string{"kernel/veth"}, inProcess...)},
	{"crr", "connect, 100 bytes there, 100 bytes back, close", "connections/s", false, connections, inProcess},
	{"udp", "datagrams of 64 bytes, a call each, counted when read", "datagrams/s", false, datagrams, inProcess},
	{"idle", "heap of established connections", "bytes per end", true, idle, inProcess},
	{"gc", "full garbage collection beside idle connections", "ms per 100,000 connections", true, collect, inProcess},
}

func findWork(name string) (work, bool) {
	for _, w := range works {
		if w.name == name {
			return w, true
		}
	}
	return work{}, false
}

// run does a work over a set-up, in this process.
func (w work) over(s setup, o options) (sample, error) {
	if special, ok := specials[s.name]; ok {
		return special(s, o)
	}
	return w.run(s, o)
}

// specials are set-ups that are no world: they do their one work themselves.
var specials = map[string]func(s setup, o options) (sample, error){
	"chan":        pingPong,
	"limit/read":  limitRead,
	"limit/write": limitWrite,
}
