package drill

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/tcp/cc"
)

// sysctl is one row of the table: what a name means for the host. Who adds a setting to the host adds its row.
type sysctl struct {
	// set takes the value's words, which are numbers unless text is set.
	set  func(h *hostConfig, v []int64) error
	text func(h *hostConfig, v string) error
	n    int // how many numbers there are; 0: one
}

// seconds and the like make rows of the usual kinds.
func durationRow(to func(*hostConfig) *time.Duration, unit time.Duration) sysctl {
	return sysctl{set: func(h *hostConfig, v []int64) error {
		*to(h) = time.Duration(v[0]) * unit
		return nil
	}}
}

// offRow is a feature that a field switches off.
func offRow(to func(*hostConfig) *bool) sysctl {
	return sysctl{set: func(h *hostConfig, v []int64) error {
		*to(h) = v[0] == 0
		return nil
	}}
}

// onlyRow is a setting that the host has with one value only.
func onlyRow(values ...int64) sysctl {
	return sysctl{set: func(_ *hostConfig, v []int64) error {
		if !slices.Contains(values, v[0]) {
			return fmt.Errorf("the host knows only %v", values)
		}
		return nil
	}}
}

// intRow is a number.
func intRow(to func(*hostConfig) *int) sysctl {
	return sysctl{set: func(h *hostConfig, v []int64) error {
		*to(h) = int(v[0])
		return nil
	}}
}

func setSynCookies(h *hostConfig, v []int64) error {
	modes := []tcp.CookieMode{tcp.CookiesNever, tcp.CookiesPressure, tcp.CookiesAlways}
	if v[0] < 0 || v[0] > 2 {
		return fmt.Errorf("the host knows only 0, 1 and 2")
	}
	h.tcp.SynCookies = modes[v[0]]
	return nil
}

// sysctls is the table of sysctl names, without net.ipv4. in front.
var sysctls = map[string]sysctl{
	"tcp_sack":                  offRow(func(h *hostConfig) *bool { return &h.tcp.NoSACK }),
	"tcp_timestamps":            offRow(func(h *hostConfig) *bool { return &h.tcp.NoTimestamps }),
	"tcp_window_scaling":        offRow(func(h *hostConfig) *bool { return &h.tcp.NoWindowScale }),
	"tcp_slow_start_after_idle": offRow(func(h *hostConfig) *bool { return &h.tcp.NoSlowStartAfterIdle }),
	"tcp_fin_timeout":           durationRow(func(h *hostConfig) *time.Duration { return &h.tcp.FinWait2 }, time.Second),
	"tcp_rto_min_us":            durationRow(func(h *hostConfig) *time.Duration { return &h.tcp.MinRTO }, time.Microsecond),
	"tcp_rto_max_ms":            durationRow(func(h *hostConfig) *time.Duration { return &h.tcp.MaxRTO }, time.Millisecond),
	"tcp_keepalive_time":        durationRow(func(h *hostConfig) *time.Duration { return &h.keepIdle }, time.Second),
	"tcp_keepalive_intvl":       durationRow(func(h *hostConfig) *time.Duration { return &h.keepInterv }, time.Second),
	"tcp_keepalive_probes":      {set: func(h *hostConfig, v []int64) error { h.keepCount = int(v[0]); return nil }},
	"tcp_congestion_control":    {text: setDefaultCongestion},
	"tcp_notsent_lowat":         {set: func(h *hostConfig, v []int64) error { h.tcp.NotSentLowat = int(v[0]); return nil }},
	"tcp_rmem":                  {n: 3, set: func(h *hostConfig, v []int64) error { h.tcp.ReceiveBuffer = int(v[2]); return nil }},
	"tcp_wmem": {n: 3, set: func(h *hostConfig, v []int64) error {
		h.tcp.FirstSendBuffer, h.tcp.SendBuffer = int(v[1]), int(v[2])
		return nil
	}},
	"tcp_no_metrics_save": onlyRow(0, 1), // the host keeps no metrics of past connections
	"core.somaxconn":      {set: func(h *hostConfig, v []int64) error { h.backlog = int(v[0]); return nil }},
	"tcp_dsack":           offRow(func(h *hostConfig) *bool { return &h.tcp.NoDSACK }),
	"tcp_frto":            offRow(func(h *hostConfig) *bool { return &h.tcp.NoFRTO }),
	"tcp_recovery":        offRow(func(h *hostConfig) *bool { return &h.tcp.NoRACK }),
	"tcp_early_retrans":   offRow(func(h *hostConfig) *bool { return &h.tcp.NoTLP }),
	"tcp_reordering":      {set: func(h *hostConfig, v []int64) error { h.tcp.Reordering = int(v[0]); return nil }},

	"tcp_syn_retries":       intRow(func(h *hostConfig) *int { return &h.tcp.SynRetries }),
	"tcp_synack_retries":    intRow(func(h *hostConfig) *int { return &h.tcp.SynAckRetries }),
	"tcp_orphan_retries":    intRow(func(h *hostConfig) *int { return &h.tcp.OrphanRetries }),
	"tcp_max_orphans":       intRow(func(h *hostConfig) *int { return &h.maxOrphans }),
	"tcp_syncookies":        {set: setSynCookies},
	"tcp_abort_on_overflow": {set: func(h *hostConfig, v []int64) error { h.tcp.AbortOnOverflow = v[0] != 0; return nil }},
	"tcp_rfc1337":           offRow(func(h *hostConfig) *bool { return &h.tcp.NoRFC1337 }),
	"tcp_fastopen":          {set: func(h *hostConfig, v []int64) error { h.fastOpen = v[0]; return nil }},

	// Path MTU.
	"tcp_mtu_probing":     {set: setMTUProbing},
	"tcp_base_mss":        intRow(func(h *hostConfig) *int { return &h.tcp.BaseMSS }),
	"tcp_min_snd_mss":     intRow(func(h *hostConfig) *int { return &h.tcp.MinSendMSS }),
	"tcp_probe_interval":  durationRow(func(h *hostConfig) *time.Duration { return &h.tcp.MTUProbeInterval }, time.Second),
	"tcp_probe_threshold": onlyRow(8),
	"route.min_pmtu":      intRow(func(h *hostConfig) *int { return &h.minPathMTU }),
	"ip_no_pmtu_disc":     {set: func(h *hostConfig, v []int64) error { h.noPathMTU = v[0] != 0; return nil }},

	// ECN.
	"tcp_ecn":          {set: setECN},
	"tcp_ecn_fallback": offRow(func(h *hostConfig) *bool { return &h.tcp.NoECNFallback }),
	"tcp_ecn_option":   offRow(func(h *hostConfig) *bool { return &h.tcp.NoECNOption }),
	"weir.ecn_control": {set: func(h *hostConfig, v []int64) error { h.tcp.ECNControl = v[0] != 0; return nil }},

	// What Linux has no sysctl for.
	"weir.pacing":          {set: func(h *hostConfig, v []int64) error { h.tcp.Pacing = v[0] != 0; return nil }},
	"weir.delayed_ack_us":  durationRow(func(h *hostConfig) *time.Duration { return &h.tcp.DelayedAck }, time.Microsecond),
	"weir.time_wait_ms":    durationRow(func(h *hostConfig) *time.Duration { return &h.tcp.TimeWait }, time.Millisecond),
	"weir.granularity_us":  durationRow(func(h *hostConfig) *time.Duration { return &h.tcp.Granularity }, time.Microsecond),
	"weir.user_timeout_ms": durationRow(func(h *hostConfig) *time.Duration { return &h.tcp.UserTimeout }, time.Millisecond),
}

// setMTUProbing takes Linux's numbers.
func setMTUProbing(h *hostConfig, v []int64) error {
	modes := [...]tcp.MTUProbing{tcp.MTUProbeOff, tcp.MTUProbeBlackHole, tcp.MTUProbeAlways}
	if v[0] < 0 || v[0] >= int64(len(modes)) {
		return fmt.Errorf("expected 0 to %d", len(modes)-1)
	}
	h.tcp.MTUProbing = modes[v[0]]
	return nil
}

// setECN takes Linux's numbers.
func setECN(h *hostConfig, v []int64) error {
	modes := [...]tcp.ECNMode{tcp.ECNOff, tcp.ECNAsk, tcp.ECNAccept, tcp.AccECNAsk, tcp.AccECNAcceptAsk, tcp.AccECNAccept}
	if v[0] < 0 || v[0] >= int64(len(modes)) {
		return fmt.Errorf("expected 0 to %d", len(modes)-1)
	}
	h.tcp.ECN = modes[v[0]]
	return nil
}

func setDefaultCongestion(h *hostConfig, v string) error {
	if !slices.Contains(cc.Names(), v) {
		return fmt.Errorf("unknown congestion control %s: expected one of %s", v, strings.Join(cc.Names(), ", "))
	}
	h.tcp.Congestion = v
	return nil
}

// setSysctl does one assignment.
func (h *hostConfig) setSysctl(name, value string) error {
	key := strings.ReplaceAll(strings.TrimPrefix(name, "/proc/sys/"), "/", ".")
	for _, prefix := range []string{"net.ipv4.", "net.ipv6.", "net."} {
		if rest, ok := strings.CutPrefix(key, prefix); ok {
			key = rest
			break
		}
	}
	row, ok := sysctls[key]
	if !ok {
		return fmt.Errorf("unknown sysctl %s: who adds the setting to the host adds its row in drill/sysctl.go", name)
	}
	value = strings.Trim(strings.TrimSpace(value), `"'`)
	if row.text != nil {
		return wrap(name, row.text(h, value))
	}
	var numbers []int64
	for _, w := range strings.Fields(value) {
		n, err := strconv.ParseInt(w, 0, 64)
		if err != nil {
			return fmt.Errorf("%s=%s: expected a number", name, value)
		}
		numbers = append(numbers, n)
	}
	if want := max(row.n, 1); len(numbers) != want {
		return fmt.Errorf("%s=%s: expected %d numbers", name, value, want)
	}
	return wrap(name, row.set(h, numbers))
}

func wrap(name string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
