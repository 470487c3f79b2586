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
	"tcpi_snd_wnd":              func(i *tcp.Info) operand { return number(int64(i.SendWindow)) },
	"tcpi_rcv_wnd":              func(i *tcp.Info) operand { return number(int64(i.ReceiveWindow)) },
	"tcpi_snd_wscale":           func(i *tcp.Info) operand { return number(int64(i.SendWScale)) },
	"tcpi_rcv_wscale":           func(i *tcp.Info) operand { return number(int64(i.ReceiveWScale)) },
	"tcpi_unacked":              func(i *tcp.Info) operand { return number(int64(i.Unacked)) },
	"tcpi_total_retrans":        func(i *tcp.Info) operand { return number(int64(i.Retransmits)) },
	"tcpi_bytes_sent":           func(i *tcp.Info) operand { return number(int64(i.BytesSent)) },
	"tcpi_bytes_acked":          func(i *tcp.Info) operand { return number(int64(i.BytesAcked)) },
	"tcpi_bytes_received":       func(i *tcp.Info) operand { return number(int64(i.BytesReceived)) },
	"tcpi_segs_out":             func(i *tcp.Info) operand { return number(int64(i.SegmentsSent)) },
	"tcpi_segs_in":              func(i *tcp.Info) operand { return number(int64(i.SegmentsReceived)) },
	"tcpi_rcv_ooopack":          func(i *tcp.Info) operand { return number(int64(i.OutOfOrder)) },
	"tcpi_sacked":               func(i *tcp.Info) operand { return segments(i.Sacked+i.SendMSS-1, i.SendMSS) },
	"tcpi_lost":                 func(i *tcp.Info) operand { return segments(i.Lost+i.SendMSS-1, i.SendMSS) },
	"tcpi_retrans":              func(i *tcp.Info) operand { return segments(i.Resent+i.SendMSS-1, i.SendMSS) },
	"tcpi_reordering":           func(i *tcp.Info) operand { return number(int64(i.Reordering)) },
	"tcpi_reord_seen":           func(i *tcp.Info) operand { return number(int64(i.Reorderings)) },
	"tcpi_dsack_dups":           func(i *tcp.Info) operand { return number(int64(i.DSACKs)) },
	"tcpi_delivered_ce":         func(i *tcp.Info) operand { return number(int64(i.ECN.DeliveredCE)) },
	"tcpi_received_ce":          func(i *tcp.Info) operand { return number(int64(i.ECN.ReceivedCE)) },
	"weir_undos":                func(i *tcp.Info) operand { return number(int64(i.Undos)) },
	"weir_loss_probes":          func(i *tcp.Info) operand { return number(int64(i.LossProbes)) },
	"tcpi_rcv_rtt":              func(i *tcp.Info) operand { return micros(i.ReceiveRTT) },
	"tcpi_ca_state":             func(i *tcp.Info) operand { return number(int64(i.CAState)) },
	"tcpi_retransmits":          func(i *tcp.Info) operand { return number(int64(i.Retries)) },
	"tcpi_probes":               func(i *tcp.Info) operand { return number(int64(i.Probes)) },
	"tcpi_backoff":              func(i *tcp.Info) operand { return number(int64(i.Backoff)) },
	"tcpi_ato":                  func(i *tcp.Info) operand { return micros(i.DelayedAck) },
	"tcpi_fackets":              func(*tcp.Info) operand { return number(0) }, // Linux counts none any more
	"tcpi_last_data_sent":       func(i *tcp.Info) operand { return number(i.LastDataSent.Milliseconds()) },
	"tcpi_last_ack_sent":        func(*tcp.Info) operand { return number(0) }, // Linux does not remember it
	"tcpi_last_data_recv":       func(i *tcp.Info) operand { return number(i.LastDataReceived.Milliseconds()) },
	"tcpi_last_ack_recv":        func(i *tcp.Info) operand { return number(i.LastAckReceived.Milliseconds()) },
	"tcpi_pmtu":                 func(i *tcp.Info) operand { return number(int64(i.PathMTU)) },
	"tcpi_rcv_ssthresh":         func(i *tcp.Info) operand { return number(int64(i.ReceiveSpace)) },
	"tcpi_rcv_space":            func(i *tcp.Info) operand { return number(int64(i.ReceiveSpace)) },
	"tcpi_advmss":               func(i *tcp.Info) operand { return number(int64(i.AdvertisedMSS)) },
	"tcpi_pacing_rate":          func(i *tcp.Info) operand { return number(i.PacingRate) },
	"tcpi_delivery_rate":        func(i *tcp.Info) operand { return number(i.DeliveryRate) },
	"tcpi_notsent_bytes":        func(i *tcp.Info) operand { return number(int64(i.NotSent)) },
	"tcpi_data_segs_in":         func(i *tcp.Info) operand { return number(int64(i.DataSegmentsReceived)) },
	"tcpi_data_segs_out":        func(i *tcp.Info) operand { return number(int64(i.DataSegmentsSent)) },
	"tcpi_delivered":            func(i *tcp.Info) operand { return number(int64(i.DeliveredSegments)) },
	"tcpi_bytes_retrans":        func(i *tcp.Info) operand { return number(int64(i.BytesRetransmitted)) },
	"tcpi_busy_time":            func(i *tcp.Info) operand { return micros(i.BusyTime) },
	"tcpi_rwnd_limited":         func(i *tcp.Info) operand { return micros(i.WindowLimited) },
	"tcpi_sndbuf_limited":       func(i *tcp.Info) operand { return micros(i.BufferLimited) },
	"tcpi_rehash":               func(i *tcp.Info) operand { return number(int64(i.Rehashes)) },
	"tcpi_total_rto":            func(i *tcp.Info) operand { return number(int64(i.RTOs)) },
	"tcpi_total_rto_recoveries": func(i *tcp.Info) operand { return number(int64(i.TimeoutRuns)) },
	"tcpi_total_rto_time":       func(i *tcp.Info) operand { return number(i.TimeoutTime.Milliseconds()) },
	"tcpi_max_pacing_rate": func(i *tcp.Info) operand {
		if i.MaxPacingRate == 0 {
			return number(-1) // ~0
		}
		return number(i.MaxPacingRate)
	},
	"tcpi_delivery_rate_app_limited": func(i *tcp.Info) operand { return number(boolNumber(i.DeliveryAppLimited)) },
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
	"tcpi_delivered_e0_bytes": func(i *tcp.Info) operand { return number(int64(i.ECN.DeliveredE0Bytes)) },
	"tcpi_delivered_e1_bytes": func(i *tcp.Info) operand { return number(int64(i.ECN.DeliveredE1Bytes)) },
	"tcpi_delivered_ce_bytes": func(i *tcp.Info) operand { return number(int64(i.ECN.DeliveredCEBytes)) },
	"tcpi_received_e0_bytes":  func(i *tcp.Info) operand { return number(int64(i.ECN.ReceivedE0Bytes)) },
	"tcpi_received_e1_bytes":  func(i *tcp.Info) operand { return number(int64(i.ECN.ReceivedE1Bytes)) },
	"tcpi_received_ce_bytes":  func(i *tcp.Info) operand { return number(int64(i.ECN.ReceivedCEBytes)) },

	// weir's own names, in bytes.
	"weir_ecn":                func(i *tcp.Info) operand { return operand{text: i.ECN.Feedback.String(), isText: true} },
	"weir_delivered":          func(i *tcp.Info) operand { return number(int64(i.Delivered)) },
	"weir_cwnd":               func(i *tcp.Info) operand { return number(int64(i.Cwnd)) },
	"weir_ssthresh":           func(i *tcp.Info) operand { return number(int64(i.Ssthresh)) },
	"weir_in_flight":          func(i *tcp.Info) operand { return number(int64(i.InFlight)) },
	"weir_rtos":               func(i *tcp.Info) operand { return number(int64(i.RTOs)) },
	"weir_mtu_probes":         func(i *tcp.Info) operand { return number(int64(i.PathProbes)) },
	"weir_mtu_probes_lost":    func(i *tcp.Info) operand { return number(int64(i.PathProbesLost)) },
	"weir_dup_acks":           func(i *tcp.Info) operand { return number(int64(i.DupAcks)) },
	"weir_congestion":         func(i *tcp.Info) operand { return operand{text: i.Congestion, isText: true} },
	"weir_state":              func(i *tcp.Info) operand { return operand{text: i.State.String(), isText: true} },
	"weir_send_queue":         func(i *tcp.Info) operand { return number(int64(i.SendQueue)) },
	"weir_receive_queue":      func(i *tcp.Info) operand { return number(int64(i.ReceiveQueue)) },
	"weir_sacked":             func(i *tcp.Info) operand { return number(int64(i.Sacked)) },
	"weir_lost":               func(i *tcp.Info) operand { return number(int64(i.Lost)) },
	"weir_resent":             func(i *tcp.Info) operand { return number(int64(i.Resent)) },
	"weir_loss_probe_repairs": func(i *tcp.Info) operand { return number(int64(i.LossProbeRepairs)) },
	"weir_spurious_rtos":      func(i *tcp.Info) operand { return number(int64(i.SpuriousRTOs)) },
	"weir_reneged":            func(i *tcp.Info) operand { return number(int64(i.Reneged)) },
}

// kernelState is Linux's number of a state.
func kernelState(s tcp.State) int64 {
	return [...]int64{
		tcp.Closed: 7, tcp.SynSent: 2, tcp.SynReceived: 3, tcp.Established: 1, tcp.FinWait1: 4, tcp.FinWait2: 5, tcp.CloseWait: 8,
		tcp.Closing: 11, tcp.LastAck: 9, tcp.TimeWaiting: 6,
	}[s]
}
