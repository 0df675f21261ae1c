package main

import (
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"go.etcd.io/etcd/server/v3/embed"
)

// etcdQuotaBytes is how large the database may grow before etcd refuses
// writes: the most etcd's documentation suggests. Its default of 2 GiB is
// within reach of a load test between two compactions (five minutes).
const etcdQuotaBytes = 8 << 30

// etcdOptions are the flags of the etcd part.
type etcdOptions struct {
	dataDir       string
	clientURL     string
	peerURL       string
	unsafeNoFsync bool
}

// runEtcd runs a single-member etcd without TLS until SIGTERM or SIGINT. It
// embeds etcd in place of upstream's command (etcdmain), which must be told
// every URL two or three times and reports an asked-for end as death by signal.
func runEtcd() int {
	var o etcdOptions
	flags := flag.NewFlagSet(os.Args[0], flag.ExitOnError)
	flags.StringVar(&o.dataDir, "data-dir", "", "`directory` of the database; made when missing (required)")
	flags.StringVar(&o.clientURL, "listen-client-url", "http://127.0.0.1:2379", "`URL` to serve clients at")
	flags.StringVar(&o.peerURL, "listen-peer-url", "http://127.0.0.1:2380", "`URL` to serve peers at; a single member has none, but etcd insists on listening")
	flags.BoolVar(&o.unsafeNoFsync, "unsafe-no-fsync", false, "do not wait for the disk: a power cut may lose data, the end of the process does not")
	_ = flags.Parse(os.Args[1:]) // exits by itself on an error
	if o.dataDir == "" || flags.NArg() > 0 {
		flags.Usage()
		return usageExitCode
	}
	if err := o.serve(); err != nil {
		fmt.Fprintln(os.Stderr, "etcd:", err)
		return 1
	}
	return 0
}

// serve returns when a signal asks for the end, or with an error when etcd
// cannot start or ends by itself.
func (o *etcdOptions) serve() error {
	config, err := o.config()
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)

	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	defer etcd.Close()

	select {
	case <-stop:
		return nil
	case err := <-etcd.Err():
		return fmt.Errorf("serve: %w", err)
	case <-etcd.Server.StopNotify():
		return errors.New("stopped by itself")
	}
}

// config is etcd's configuration for these flags.
func (o *etcdOptions) config() (*embed.Config, error) {
	client, err := url.Parse(o.clientURL)
	if err != nil {
		return nil, fmt.Errorf("parse --listen-client-url: %w", err)
	}
	peer, err := url.Parse(o.peerURL)
	if err != nil {
		return nil, fmt.Errorf("parse --listen-peer-url: %w", err)
	}
	config := embed.NewConfig()
	config.Name = "control-plane"
	config.Dir = o.dataDir
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.QuotaBackendBytes = etcdQuotaBytes
	config.UnsafeNoFsync = o.unsafeNoFsync
	config.LogLevel = "warn"
	// Left at zero, every request would count as slow and be logged.
	config.WarningUnaryRequestDuration = embed.DefaultWarningUnaryRequestDuration
	return config, nil
}
