package stack

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/weirnet/weir/internal/during"
	"github.com/weirnet/weir/internal/ip"
	"github.com/weirnet/weir/internal/offload"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/packet"
)

// InterfaceConfig says what an interface is.
type InterfaceConfig struct {
	Name                               string // empty: "eth" and a number
	Device                             link.Device
	Addrs                              []netip.Prefix
	Gateway4, Gateway6                 netip.Addr
	AnyDestination, Isolated, Loopback bool
	Down                               bool
}

// Interface is one interface of a stack.
type Interface struct {
	stack  *Stack
	index  int
	dev    link.Device
	info   atomic.Pointer[link.Info]
	queues []*txQueue
	stats  ifaceCounters

	joiners []joiner // one for each of the device's queues

	cfg    InterfaceConfig // under stack.mu
	closed bool            // under stack.mu
	once   sync.Once
}

// joiner is GRO for one queue, which mostly delivers from one goroutine: a batch that comes from another meanwhile goes up as it is.
type joiner struct {
	offload.Joiner
	busy atomic.Bool
	_    [52]byte // a cache line to itself
}

// ifaceCounters count packets as the device sees them (a super-segment is one).
type ifaceCounters struct {
	rxPackets, rxBytes, txPackets, txBytes, txDropped atomic.Uint64
}

// InterfaceInfo describes an interface and what crossed it.
type InterfaceInfo struct {
	Name                                              string
	Index, MTU                                        int
	Up                                                bool
	Addrs                                             []netip.Prefix
	Gateway4, Gateway6                                netip.Addr
	AnyDestination, Isolated, Loopback                bool
	Offloads                                          link.Offload
	RxPackets, RxBytes, TxPackets, TxBytes, TxDropped uint64 // as the device sees them: a super-segment is one packet
}

// AddInterface attaches a device.
func (s *Stack) AddInterface(c InterfaceConfig) (*Interface, error) {
	i, err := s.register(c)
	if err != nil {
		return nil, err
	}
	err = c.Device.Attach(link.Sink{
		Deliver: i.deliver, Writable: i.writable, Changed: i.changed,
		Packets: s.cfg.Packets, Clock: s.cfg.Clock,
	})
	if err != nil {
		i.unregister()
		i.shutQueues()
		return nil, during.Error("attach the device of interface "+i.Name(), err)
	}
	if s.closed.Load() { // Close may have closed the device before it was attached
		_ = i.Close()
		return nil, net.ErrClosed
	}
	return i, nil
}

// register enters a new interface into the configuration, before any packet of its can arrive.
func (s *Stack) register(c InterfaceConfig) (*Interface, error) {
	if c.Device == nil {
		return nil, errors.New("add an interface: no Device given")
	}
	c.Addrs = slices.Clone(c.Addrs)
	i := &Interface{stack: s, dev: c.Device, cfg: c}
	info := c.Device.Info()
	i.info.Store(&info)
	queues := max(1, info.Queues)
	if s.inline {
		queues = 1 // there is one goroutine; and what a seed replays does not depend on the machine's processors
	}
	for n := range queues {
		i.queues = append(i.queues, &txQueue{dev: c.Device, index: n, iface: i, stack: s})
	}
	i.joiners = make([]joiner, len(i.queues))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return nil, net.ErrClosed
	}
	if c.Name == "" {
		i.cfg.Name = s.freeName()
	}
	if s.named(i.cfg.Name) != nil {
		return nil, during.Error("add interface "+i.cfg.Name+": the name is taken", syscall.EEXIST)
	}
	i.index = s.last + 1
	if err := s.publish(append(slices.Clone(*s.ifaces.Load()), i), s.routes); err != nil {
		return nil, during.Error("add interface "+i.cfg.Name, err)
	}
	s.last = i.index
	return i, nil
}

// freeName is the first of eth0, eth1, … that no interface has; s.mu is held.
func (s *Stack) freeName() string {
	for n := 0; ; n++ {
		if name := "eth" + strconv.Itoa(n); s.named(name) == nil {
			return name
		}
	}
}

// named returns the interface of a name, nil if there is none; s.mu is held.
func (s *Stack) named(name string) *Interface {
	for _, i := range *s.ifaces.Load() {
		if i.cfg.Name == name {
			return i
		}
	}
	return nil
}

// publish makes a set of interfaces and routes the one that packets see; s.mu is held. On an error nothing changes.
func (s *Stack) publish(ifaces []*Interface, routes []ip.Route) error {
	var descs []ip.Interface
	all := slices.Clone(routes)
	for _, i := range ifaces {
		info := i.info.Load()
		descs = append(descs, ip.Interface{
			Index: i.index, Name: i.cfg.Name, MTU: info.MTU, Up: !i.cfg.Down && !info.Down, Addrs: i.cfg.Addrs,
			AnyDestination: i.cfg.AnyDestination, Isolated: i.cfg.Isolated, Loopback: i.cfg.Loopback,
			TxChecksum: info.Offloads&link.TxChecksum != 0,
		})
		if g := i.cfg.Gateway4; g.IsValid() {
			all = append(all, ip.Route{Prefix: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Gateway: g, Iface: i.index})
		}
		if g := i.cfg.Gateway6; g.IsValid() {
			all = append(all, ip.Route{Prefix: netip.PrefixFrom(netip.IPv6Unspecified(), 0), Gateway: g, Iface: i.index})
		}
	}
	table, err := ip.NewTable(descs, all)
	if err != nil {
		return err
	}
	s.routes = routes
	s.ifaces.Store(&ifaces)
	s.ip.SetTable(table)
	return nil
}

// SetRoutes replaces the routes that were set explicitly (those of interfaces' prefixes and gateways stay). A route keeps to the interface
// that its gateway is on link to now: it is no use while that is down, and goes when that is closed.
func (s *Stack) SetRoutes(routes []ip.Route) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	routes = slices.Clone(routes)
	for k := range routes {
		if r := &routes[k]; r.Iface == 0 && r.Gateway.IsValid() {
			r.Iface = s.onLink(r.Gateway.Unmap())
		}
	}
	return s.publish(*s.ifaces.Load(), routes)
}

// onLink is the interface with the longest prefix that contains an address, 0 if there is none; s.mu is held.
func (s *Stack) onLink(a netip.Addr) (index int) {
	best := -1
	for _, i := range *s.ifaces.Load() {
		for _, p := range i.cfg.Addrs {
			if !i.cfg.Isolated && !i.cfg.Down && p.Contains(a) && p.Bits() > best {
				index, best = i.index, p.Bits()
			}
		}
	}
	return index
}

// change applies fn to the interface's configuration and publishes the result, or undoes it.
func (i *Interface) change(fn func(*InterfaceConfig)) error {
	s := i.stack
	s.mu.Lock()
	defer s.mu.Unlock()
	if i.closed {
		return syscall.ENODEV
	}
	old := i.cfg
	fn(&i.cfg)
	if err := s.publish(*s.ifaces.Load(), s.routes); err != nil {
		i.cfg = old
		return err
	}
	return nil
}

// SetAddrs replaces the addresses of the interface.
func (i *Interface) SetAddrs(addrs []netip.Prefix) error {
	return i.change(func(c *InterfaceConfig) { c.Addrs = slices.Clone(addrs) })
}

// SetUp takes the interface up or down. What waits to be sent when it goes down is dropped.
func (i *Interface) SetUp(up bool) error {
	err := i.change(func(c *InterfaceConfig) { c.Down = !up })
	if err == nil && !up {
		i.purge()
	}
	return err
}

// purge drops what is queued, which lets sockets go that wait for room in vain.
func (i *Interface) purge() {
	for _, q := range i.queues {
		q.purge()
	}
	i.stack.flushAll()
}

// Index returns the interface's number, from 1. It is never given again.
func (i *Interface) Index() int { return i.index }

// Name returns the interface's name, which never changes.
func (i *Interface) Name() string {
	i.stack.mu.Lock()
	defer i.stack.mu.Unlock()
	return i.cfg.Name
}

// Info returns what the interface is and what crossed it.
func (i *Interface) Info() InterfaceInfo {
	i.stack.mu.Lock()
	c := i.cfg
	i.stack.mu.Unlock()
	info, st := i.info.Load(), &i.stats
	return InterfaceInfo{
		Name: c.Name, Index: i.index, MTU: info.MTU, Up: !c.Down && !info.Down, Addrs: slices.Clone(c.Addrs),
		Gateway4: c.Gateway4, Gateway6: c.Gateway6, AnyDestination: c.AnyDestination, Isolated: c.Isolated, Loopback: c.Loopback,
		Offloads:  info.Offloads,
		RxPackets: st.rxPackets.Load(), RxBytes: st.rxBytes.Load(),
		TxPackets: st.txPackets.Load(), TxBytes: st.txBytes.Load(), TxDropped: st.txDropped.Load(),
	}
}

// Close detaches and closes the device. Sockets that used it find another way or time out.
func (i *Interface) Close() error {
	var err error
	i.once.Do(func() {
		i.unregister()
		err = i.dev.Close()
		i.shutQueues()
	})
	return err
}

// shutQueues ends the queues. Sockets that waited in one may have found another way meanwhile.
func (i *Interface) shutQueues() {
	for _, q := range i.queues {
		q.shut()
	}
	i.stack.flushAll()
}

// unregister takes the interface out of the configuration. Removing cannot make a valid configuration invalid, but for explicit routes
// by way of the interface: these go too.
func (i *Interface) unregister() {
	s := i.stack
	s.mu.Lock()
	defer s.mu.Unlock()
	i.closed = true
	var ifaces []*Interface
	for _, o := range *s.ifaces.Load() {
		if o != i {
			ifaces = append(ifaces, o)
		}
	}
	var routes []ip.Route
	for _, r := range s.routes {
		if r.Iface != i.index {
			routes = append(routes, r)
		}
	}
	_ = s.publish(ifaces, routes)
}

// Interfaces returns the interfaces in the order of their numbers.
func (s *Stack) Interfaces() []*Interface { return slices.Clone(*s.ifaces.Load()) }

// openInterfaces is Interfaces when no AddInterface is half-way.
func (s *Stack) openInterfaces() []*Interface {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.ifaces.Load()
}

// InterfaceByName returns an interface, nil if there is none of that name.
func (s *Stack) InterfaceByName(name string) *Interface {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.named(name)
}

// InterfaceName returns the name of an interface by its number, empty if it is gone.
func (s *Stack) InterfaceName(index int) string {
	if i := s.iface(index); i != nil {
		return i.Name()
	}
	return ""
}

// iface returns an interface by its number, nil if it is gone.
func (s *Stack) iface(index int) *Interface {
	all := *s.ifaces.Load()
	if k := index - 1; uint(k) < uint(len(all)) && all[k].index == index {
		return all[k] // none was closed so far, as is mostly so
	}
	if k := sort.Search(len(all), func(k int) bool { return all[k].index >= index }); k < len(all) && all[k].index == index {
		return all[k]
	}
	return nil
}

// queue returns the transmit queue for a flow's hash. A flow keeps to its queue, from its first packet on: that keeps its order, and devices
// with several queues (TUN) bring by the same queue what comes back.
func (i *Interface) queue(hash uint32) *txQueue {
	if len(i.queues) == 1 {
		return i.queues[0]
	}
	return i.queues[int(hash)%len(i.queues)]
}

// deliver is the way in: a batch of packets from the device.
func (i *Interface) deliver(queue int, packets []*packet.Packet) {
	if len(packets) == 0 {
		return
	}
	s := i.stack
	now := packets[0].Received // where the device has asked the clock there is no need to
	if now == 0 {
		now = s.now()
	}
	depth := packets[0].Depth
	i.count(packets)
	if j := &i.joiners[uint(queue)%uint(len(i.joiners))]; i.info.Load().Offloads&link.RxJoined == 0 && j.busy.CompareAndSwap(false, true) {
		j.UDP = !s.cfg.Forward
		packets = j.Join(packets)
		j.busy.Store(false)
	}
	b := s.batches.Get().(*batch)
	for _, p := range packets {
		p.Iface = int32(i.index)
		s.ip.Input(now, p, b)
	}
	s.finish(now, b, depth)
}

func (i *Interface) count(packets []*packet.Packet) {
	bytes := 0
	for _, p := range packets {
		bytes += p.Size()
	}
	i.stats.rxPackets.Add(uint64(len(packets)))
	i.stats.rxBytes.Add(uint64(bytes))
}

// flushQueues flushes every queue that has something; there are few, and a look at an idle one costs a load.
func (s *Stack) flushQueues(depth uint8) {
	for _, i := range *s.ifaces.Load() {
		for _, q := range i.queues {
			if q.active.Load() {
				q.flush(depth)
			}
		}
	}
}

func (s *Stack) flushAll() { s.flushQueues(0) }

// kickQueues has the helpers flush: for timers.
func (s *Stack) kickQueues() {
	for _, i := range *s.ifaces.Load() {
		for _, q := range i.queues {
			if q.active.Load() {
				q.kick()
			}
		}
	}
}

func (i *Interface) writable(queue int) {
	if queue >= 0 && queue < len(i.queues) {
		i.queues[queue].writable()
	}
}

// changed is the device's word that its Info is another one. What no interface can have is not believed.
func (i *Interface) changed(info link.Info) {
	s := i.stack
	s.mu.Lock()
	old := i.info.Load()
	i.info.Store(&info)
	if i.closed || s.publish(*s.ifaces.Load(), s.routes) != nil {
		i.info.Store(old)
	}
	s.mu.Unlock()
	if info.Down {
		i.purge()
	}
}

// transmit is where ip puts the packets that it makes or forwards: these keep to the queue by which their flow came.
func (s *Stack) transmit(iface int, p *packet.Packet) {
	i := s.iface(iface)
	if i == nil {
		p.Release()
		return
	}
	p.Iface, p.Received = int32(iface), 0
	i.queue(uint32(p.Queue)).offer(p)
}
