package sim

import (
	"cmp"
	"net/netip"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/internal/ip"
	"github.com/weirnet/weir/internal/stack"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
)

// HostConfig says what a host is. The zero value is one with the defaults of the stack.
type HostConfig struct {
	TCP         *tcp.Config   // the host's own; nil: the defaults
	Memory      int64         // bytes that its sockets' queues may hold; 0: the stack's default
	Backlog     int           // of its listeners; 0: the stack's default
	Granularity time.Duration // of its clock; 0: nanoseconds
	Forward     bool          // it is a router
}

// Host is a stack.
type Host struct {
	Name      string
	world     *World
	config    HostConfig
	clock     sched.Clock
	stack     *stack.Stack
	packets   *packet.Pool
	ports     []*port
	cookies   bool // a late segment with a SYN cookie may begin the same connection anew
	fastOpens bool // and so may a late SYN with a Fast Open cookie
	watches   map[tuple]*watch
	last      *watch // the one used last
	lastKey   tuple
}

// tuple names a connection from one end's point of view.
type tuple struct{ local, remote netip.AddrPort }

// Host adds a host.
func (w *World) Host(name string, c HostConfig) *Host {
	h := &Host{Name: name, world: w, config: c, clock: w.clock, watches: map[tuple]*watch{}}
	if c.TCP == nil {
		c.TCP = &tcp.Config{}
	}
	if c.Granularity > 1 {
		h.clock = sched.NewCoarse(w.clock, c.Granularity)
		c.TCP.Granularity = cmp.Or(c.TCP.Granularity, max(c.Granularity, time.Millisecond))
	}
	h.cookies = c.TCP.SynCookies == tcp.CookiesAlways
	h.packets = packet.NewPool(buffer.NewPool(buffer.Options{Check: w.config.Check}))
	random := Random(w.random.Uint64())
	h.stack = stack.New(stack.Config{
		Clock: h.clock, Rand: random.Uint64, Packets: h.packets, TCP: c.TCP, Memory: c.Memory, Backlog: c.Backlog, Forward: c.Forward,
	})
	w.hosts = append(w.hosts, h)
	return h
}

// Router adds a host that forwards what is not for it.
func (w *World) Router(name string) *Host { return w.Host(name, HostConfig{Forward: true}) }

// Stack is the host's stack, for what this package has no words for.
func (h *Host) Stack() *stack.Stack { return h.stack }

// Addr is the host's address on its first link, IPv4 or IPv6.
func (h *Host) Addr(v6 bool) netip.Addr {
	if v6 {
		return h.ports[0].addr6
	}
	return h.ports[0].addr4
}

// route gives every host the routes to all links, along the fewest others.
func (w *World) route() {
	if !w.unrouted {
		return
	}
	w.unrouted = false
	for _, h := range w.hosts {
		if err := h.stack.SetRoutes(h.routes()); err != nil {
			w.Fail("routes of %s: %w", h.Name, err)
		}
	}
}

// routes walks over the links breadth first. Each is reached by way of the neighbour that was met first.
func (h *Host) routes() (all []ip.Route) {
	type visit struct {
		host *Host
		via  *port // the neighbour's, on a link of h
	}
	met := map[*Host]bool{h: true}
	linked := map[*Link]bool{}
	for queue := []visit{{host: h}}; len(queue) > 0; queue = queue[1:] {
		v := queue[0]
		for _, p := range v.host.ports {
			far, via := p.peer, v.via
			if via == nil {
				via = far
			}
			if !linked[p.link] {
				linked[p.link] = true
				if v.via != nil {
					all = append(all, p.link.routes(v.via)...)
				}
			}
			if !met[far.host] && far.host.config.Forward {
				met[far.host] = true
				queue = append(queue, visit{far.host, via})
			}
		}
	}
	return all
}

// checkClosed looks for what the closed stack has not given back.
func (h *Host) checkClosed() {
	used, _ := h.stack.Memory()
	flows := h.stack.Stats().Flows
	packets := h.packets.Outstanding()
	if used != 0 || flows != 0 || packets != 0 {
		h.world.Fail("%s: after Close %d bytes are charged to sockets, %d flows are in the table, %d packets are out", h.Name, used, flows, packets)
	}
	if err := h.packets.Buffers().Leaked(); err != nil {
		h.world.Fail("%s: %w", h.Name, err)
	}
}
