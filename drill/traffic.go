package drill

import (
	"syscall"

	"github.com/weirnet/weir/internal/stack"
)

// ipOption is an option of IP: what it means for a socket to come, and for one that is there.
func ipOption(change func(t *stack.Traffic, v int64)) sockOption {
	return sockOption{set: func(_ *call, f *file, v int64) error {
		if v < 0 || v > 255 {
			return syscall.EINVAL
		}
		return f.changeTraffic(func(t *stack.Traffic) { change(t, v) })
	}}
}

// changeTraffic changes what the socket asks of IP.
func (f *file) changeTraffic(fn func(*stack.Traffic)) error {
	fn(&f.traffic)
	switch {
	case f.tcp != nil:
		return f.tcp.SetTraffic(fn)
	case f.udp != nil:
		f.udp.SetTraffic(fn)
	}
	return nil
}

func setTTL(t *stack.Traffic, v int64)    { t.TTL = uint8(v) }
func setMinTTL(t *stack.Traffic, v int64) { t.MinTTL = uint8(v) }
func setTOS(t *stack.Traffic, v int64)    { t.TOS = uint8(v) }

// setPathMTU is IP_MTU_DISCOVER. The host's TCP has no packets that are larger than the path, so that DO is WANT.
func setPathMTU(_ *call, f *file, v int64) error {
	modes := map[int64]stack.PathMTU{
		symbols["IP_PMTUDISC_DONT"]: stack.PathMTUFragment, symbols["IP_PMTUDISC_WANT"]: stack.PathMTUWant,
		symbols["IP_PMTUDISC_DO"]: stack.PathMTUWant, symbols["IP_PMTUDISC_PROBE"]: stack.PathMTUProbe,
	}
	mode, ok := modes[v]
	if !ok {
		return syscall.EINVAL
	}
	return f.changeTraffic(func(t *stack.Traffic) { t.PathMTU = mode })
}

// pathMTU is IP_MTU, of a connection.
func pathMTU(_ *call, f *file) int64 {
	if f.tcp == nil {
		return 0
	}
	return int64(f.tcp.Info().PathMTU)
}

// setAutoLabel is IPV6_AUTOFLOWLABEL.
func setAutoLabel(_ *call, f *file, v int64) error {
	label := stack.NoFlowLabel
	if v != 0 {
		label = stack.AutoFlowLabel
	}
	return f.changeTraffic(func(t *stack.Traffic) { t.FlowLabel = label })
}

// setDevice is SO_BINDTODEVICE: the name of an interface, of which the host has one, tun0; "" unbinds. ENODEV: there is none of that name.
func setDevice(c *call, f *file, v value) error {
	if v.kind != textValue {
		c.bad("argument 4 of %s is %s: expected the name of an interface", c.ev.name, v)
	}
	switch v.text {
	case "":
		f.iface = 0
	case deviceName:
		f.iface = c.r.iface
	default:
		return syscall.ENODEV
	}
	return nil
}

// isSet reports whether setsockopt has set an option of SOL_SOCKET.
func (f *file) isSet(name string) bool { return f.values[optionName{"SOL_SOCKET", name}] != 0 }

// bound is what a socket that connects is tied down to.
func (f *file) bound(b stack.Bound) stack.Bound {
	b.Local, b.Iface, b.Traffic = f.bindAddr(), f.iface, f.traffic
	b.ReuseAddr, b.ReusePort = f.isSet("SO_REUSEADDR"), f.isSet("SO_REUSEPORT")
	b.TCP, b.Keys = &f.start, f.keys
	return b
}

// listening completes what a socket that listens, or an unconnected one, is opened with.
func (f *file) listening(o stack.ListenOptions) stack.ListenOptions {
	o.Family, o.Iface, o.Traffic, o.Keys = f.family(), f.iface, f.traffic, f.keys
	o.ReuseAddr, o.ReusePort = f.isSet("SO_REUSEADDR"), f.isSet("SO_REUSEPORT")
	o.Exclusive = f.stream && f.values[optionName{"SOL_SOCKET", "SO_REUSEADDR"}] == 0
	return o
}
