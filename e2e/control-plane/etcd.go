package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
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

// newEtcdCommand makes the command of a single-member etcd without TLS, which
// runs until SIGTERM or SIGINT. It is not upstream's etcd command, whose main
// package cannot be imported, and takes only the flags a lab needs.
func newEtcdCommand() *cobra.Command {
	var o etcdOptions
	command := &cobra.Command{
		Use:          "etcd --data-dir DIR",
		Short:        "Run a single-member etcd",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE:         func(*cobra.Command, []string) error { return o.run() },
	}
	flags := command.Flags()
	flags.StringVar(&o.dataDir, "data-dir", "", "directory of the database; made when missing")
	flags.StringVar(&o.clientURL, "listen-client-url", embed.DefaultListenClientURLs, "URL to serve clients at")
	flags.StringVar(&o.peerURL, "listen-peer-url", embed.DefaultListenPeerURLs, "URL to serve peers at; of no use to a single member, but etcd insists on one")
	flags.BoolVar(&o.unsafeNoFsync, "unsafe-no-fsync", false, "do not wait for the disk; data may be lost in a power cut, not when the process is killed")
	if err := command.MarkFlagRequired("data-dir"); err != nil {
		panic(err) // only when no such flag is defined above
	}
	return command
}

// run serves until a signal asks for the end, or etcd ends by itself, which is
// an error.
func (o *etcdOptions) run() error {
	config, err := o.config()
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)

	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	defer etcd.Close()

	select {
	case <-stop:
		return nil
	case err := <-etcd.Err():
		return fmt.Errorf("serve etcd: %w", err)
	case <-etcd.Server.StopNotify():
		return errors.New("etcd stopped by itself")
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
	config.Dir = o.dataDir
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.QuotaBackendBytes = etcdQuotaBytes
	config.UnsafeNoFsync = o.unsafeNoFsync
	config.LogLevel = "warn"
	return config, nil
}
