package drill

import (
	"time"

	"github.com/weirnet/weir/tcp"
)

// micros is a time as TCP_INFO has it.
func micros(d time.Duration) operand { return number(d.Microseconds()) }

// segments turns bytes into full segments, as TCP_INFO counts its windows.
func segments(bytes, mss int) operand { return number(int64(bytes) / int64(max(mss, 1))) }

// infoFields is the table of tcpi_ names, with TCP_INFO's units: who adds a number to tcp.Info adds its row.
var infoFields = map[string]infoField{
	"tcpi_state":    func(i *tcp.Info) operand { return number(kernelState(i.State)) },
	"tcpi_rto":      func(i *tcp.Info) operand { return micros(i.RTO) },
	"tcpi_rtt":      func(i *tcp.Info) operand { return micros(i.RTT) },
	"tcpi_rttvar":   func(i *tcp.Info) operand { return micros(i.RTTVar) },
	"tcpi_min_rtt":  func(i *tcp.Info) operand { return micros(i.MinRTT) },
	"tcpi_snd_mss":  func(i *tcp.Info) operand { return number(int64(i.SendMSS)) },
	"tcpi_rcv_mss":  func(i *tcp.Info) operand { return number(int64(i.ReceiveMSS)) },
	"tcpi_snd_cwnd": func(i *tcp.Info) operand { return segments(i.Cwnd, i.SendMSS) },
	"tcpi_snd_ssthresh": func(i *tcp.Info) operand {
		if i.Ssthresh == 0 { // TCP_INFINITE_SSTHRESH
			return number(0x7fffffff)
		}
		return segments(i.Ssthresh, i.SendMSS)
	},
	"tcpi_snd_wnd":                   func(i *tcp.Info) operand { return number(int64(i.SendWindow)) },
	"tcpi_rcv_wnd":                   func(i *tcp.Info) operand { return number(int64(i.ReceiveWindow)) },
	"tcpi_snd_wscale":                func(i *tcp.Info) operand { return number(int64(i.SendWScale)) },
	"tcpi_rcv_wscale":                func(i *tcp.Info) operand { return number(int64(i.ReceiveWScale)) },
	"tcpi_unacked":                   func(i *tcp.Info) operand { return segments(i.InFlight+i.SendMSS-1, i.SendMSS) },
	"tcpi_pacing_rate":               func(i *tcp.Info) operand { return number(i.PacingRate) },
	"tcpi_max_pacing_rate":           func(i *tcp.Info) operand { return number(i.MaxPacingRate) },
	"tcpi_delivery_rate":             func(i *tcp.Info) operand { return number(i.DeliveryRate) },
	"tcpi_delivery_rate_app_limited": func(i *tcp.Info) operand { return number(boolNumber(i.DeliveryAppLimited)) },
	"weir_delivered":                 func(i *tcp.Info) operand { return number(int64(i.Delivered)) },
	"tcpi_total_retrans":             func(i *tcp.Info) operand { return number(int64(i.Retransmits)) },
	"tcpi_bytes_sent":                func(i *tcp.Info) operand { return number(int64(i.BytesSent)) },
	"tcpi_bytes_acked":               func(i *tcp.Info) operand { return number(int64(i.BytesAcked)) },
	"tcpi_bytes_received":            func(i *tcp.Info) operand { return number(int64(i.BytesReceived)) },
	"tcpi_segs_out":                  func(i *tcp.Info) operand { return number(int64(i.SegmentsSent)) },
	"tcpi_segs_in":                   func(i *tcp.Info) operand { return number(int64(i.SegmentsReceived)) },
	"tcpi_rcv_ooopack":               func(i *tcp.Info) operand { return number(int64(i.OutOfOrder)) },
	"tcpi_options": func(i *tcp.Info) operand {
		o := int64(0)
		if i.Timestamps {
			o |= symbols["TCPI_OPT_TIMESTAMPS"]
		}
		if i.SACK {
			o |= symbols["TCPI_OPT_SACK"]
		}
		if i.SendWScale|i.ReceiveWScale != 0 {
			o |= symbols["TCPI_OPT_WSCALE"]
		}
		if i.ECN.Feedback != tcp.ECNNone {
			o |= symbols["TCPI_OPT_ECN"]
		}
		if i.ECN.Seen {
			o |= symbols["TCPI_OPT_ECN_SEEN"]
		}
		return number(o)
	},
	"tcpi_delivered_ce":       func(i *tcp.Info) operand { return number(int64(i.ECN.DeliveredCE)) },
	"tcpi_received_ce":        func(i *tcp.Info) operand { return number(int64(i.ECN.ReceivedCE)) },
	"tcpi_delivered_e0_bytes": func(i *tcp.Info) operand { return number(int64(i.ECN.DeliveredE0Bytes)) },
	"tcpi_delivered_e1_bytes": func(i *tcp.Info) operand { return number(int64(i.ECN.DeliveredE1Bytes)) },
	"tcpi_delivered_ce_bytes": func(i *tcp.Info) operand { return number(int64(i.ECN.DeliveredCEBytes)) },
	"tcpi_received_e0_bytes":  func(i *tcp.Info) operand { return number(int64(i.ECN.ReceivedE0Bytes)) },
	"tcpi_received_e1_bytes":  func(i *tcp.Info) operand { return number(int64(i.ECN.ReceivedE1Bytes)) },
	"tcpi_received_ce_bytes":  func(i *tcp.Info) operand { return number(int64(i.ECN.ReceivedCEBytes)) },

	// weir's own names, in bytes.
	"weir_ecn":           func(i *tcp.Info) operand { return operand{text: i.ECN.Feedback.String(), isText: true} },
	"weir_cwnd":          func(i *tcp.Info) operand { return number(int64(i.Cwnd)) },
	"weir_ssthresh":      func(i *tcp.Info) operand { return number(int64(i.Ssthresh)) },
	"weir_in_flight":     func(i *tcp.Info) operand { return number(int64(i.InFlight)) },
	"weir_rtos":          func(i *tcp.Info) operand { return number(int64(i.RTOs)) },
	"weir_dup_acks":      func(i *tcp.Info) operand { return number(int64(i.DupAcks)) },
	"weir_congestion":    func(i *tcp.Info) operand { return operand{text: i.Congestion, isText: true} },
	"weir_state":         func(i *tcp.Info) operand { return operand{text: i.State.String(), isText: true} },
	"weir_send_queue":    func(i *tcp.Info) operand { return number(int64(i.SendQueue)) },
	"weir_receive_queue": func(i *tcp.Info) operand { return number(int64(i.ReceiveQueue)) },
}

// kernelState is Linux's number of a state.
func kernelState(s tcp.State) int64 {
	return [...]int64{
		tcp.Closed: 7, tcp.SynSent: 2, tcp.SynReceived: 3, tcp.Established: 1, tcp.FinWait1: 4, tcp.FinWait2: 5, tcp.CloseWait: 8,
		tcp.Closing: 11, tcp.LastAck: 9, tcp.TimeWaiting: 6,
	}[s]
}
