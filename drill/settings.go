package drill

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// ipVersion says what sockets and packets a script has.
type ipVersion uint8

const (
	ipv4 ipVersion = iota
	ipv6
	ipv4Mapped // AF_INET6 sockets, IPv4 packets
)

// settings are what the option lines say.
type settings struct {
	tolerance             time.Duration
	mtu                   int
	version               ipVersion
	local4, remote4       netip.Addr
	local6, remote6       netip.Addr
	gateway               netip.Addr
	bits4                 int
	bindPort, connectPort uint16
	tsTick                time.Duration // of the timestamp clock, to check TSval; 0: not checked
	anyCalls, anyPackets  bool          // --non_fatal
	iss                   *uint32       // of the host's connections, on the wire
	localText, remoteText string
	gatewayText, maskText string
}

// The addresses are those of packetdrill's documentation.
func defaultSettings() settings {
	return settings{
		mtu:         1500,
		local4:      netip.AddrFrom4([4]byte{192, 168, 0, 1}),
		remote4:     netip.AddrFrom4([4]byte{192, 0, 2, 1}),
		local6:      netip.MustParseAddr("fd3d:fa7b:d17d::1"),
		remote6:     netip.MustParseAddr("2001:db8::1"),
		bits4:       16,
		bindPort:    8080,
		connectPort: 8080,
	}
}

// option takes one option line.
func (set *settings) option(name, value string) (err error) {
	switch name {
	case "tolerance_usecs", "tcp_ts_tick_usecs":
		var n int
		n, err = inRange(name, value, 0, 1e9)
		if name == "tolerance_usecs" {
			set.tolerance = time.Duration(n) * time.Microsecond
		} else {
			set.tsTick = time.Duration(n) * time.Microsecond
		}
	case "mtu":
		set.mtu, err = inRange(name, value, 68, 65535)
	case "bind_port", "connect_port":
		var n int
		n, err = inRange(name, value, 1, 65535)
		if name == "bind_port" {
			set.bindPort = uint16(n)
		} else {
			set.connectPort = uint16(n)
		}
	case "iss":
		n, err := strconv.ParseUint(value, 0, 32)
		if err != nil {
			return fmt.Errorf("--iss=%s: expected a sequence number", value)
		}
		iss := uint32(n)
		set.iss = &iss
	case "ip_version":
		versions := map[string]ipVersion{"ipv4": ipv4, "ipv6": ipv6, "ipv4-mapped-ipv6": ipv4Mapped, "ipv4_mapped_ipv6": ipv4Mapped}
		v, ok := versions[value]
		if !ok {
			return fmt.Errorf("--ip_version=%s: expected ipv4, ipv6 or ipv4-mapped-ipv6", value)
		}
		set.version = v
	case "local_ip":
		set.localText = value
	case "remote_ip":
		set.remoteText = value
	case "gateway_ip":
		set.gatewayText = value
	case "netmask_ip":
		set.maskText = value
	case "non_fatal":
		return set.nonFatal(value)
	case "speed", "verbose", "dry_run", "send_omit_free", "no_cleanup":
		// The link has no speed, and the rest is not about what the host does.
	case "init_scripts":
		err = fmt.Errorf("--init_scripts: drill runs no shell; write the sysctl lines they have at the head of the script")
	default:
		if strings.HasPrefix(name, "wire_") || name == "so_filename" || name == "so_flags" {
			return fmt.Errorf("--%s: drill runs against a host in this process only, never over a real network", name)
		}
		err = fmt.Errorf("unknown option --%s", name)
	}
	return err
}

func inRange(name, value string, least, most int) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("--%s=%s: expected a number from %d to %d", name, value, least, most)
	}
	return n, nil
}

// nonFatal takes what may differ without failing the script.
func (set *settings) nonFatal(value string) error {
	for _, what := range strings.Split(value, ",") {
		switch what {
		case "packet":
			set.anyPackets = true
		case "syscall":
			set.anyCalls = true
		default:
			return fmt.Errorf("--non_fatal=%s: expected packet, syscall or both", value)
		}
	}
	return nil
}

// complete takes the addresses once all options are known: whose family they are is for --ip_version to say.
func (set *settings) complete() error {
	for _, a := range []struct {
		name, text string
		v4, v6     *netip.Addr
	}{
		{"local_ip", set.localText, &set.local4, &set.local6},
		{"remote_ip", set.remoteText, &set.remote4, &set.remote6},
		{"gateway_ip", set.gatewayText, &set.gateway, &set.gateway},
	} {
		if a.text == "" {
			continue
		}
		text, _, _ := strings.Cut(a.text, "/")
		addr, err := netip.ParseAddr(text)
		switch {
		case err != nil:
			return fmt.Errorf("--%s=%s: expected an IP address", a.name, a.text)
		case addr.Unmap().Is4():
			*a.v4 = addr.Unmap()
		default:
			*a.v6 = addr
		}
	}
	if set.maskText != "" {
		mask, err := netip.ParseAddr(set.maskText)
		if err != nil || !mask.Is4() {
			return fmt.Errorf("--netmask_ip=%s: expected a mask like 255.255.0.0", set.maskText)
		}
		set.bits4 = 0
		for _, b := range mask.As4() {
			for ; b&0x80 != 0; b <<= 1 {
				set.bits4++
			}
		}
	}
	return nil
}

// is6 reports whether packets are IPv6.
func (set *settings) is6() bool { return set.version == ipv6 }

// local and remote are the addresses of the two ends.
func (set *settings) local() netip.Addr {
	if set.is6() {
		return set.local6
	}
	return set.local4
}

func (set *settings) remote() netip.Addr {
	if set.is6() {
		return set.remote6
	}
	return set.remote4
}
