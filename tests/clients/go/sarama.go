package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/xdg-go/scram"
)

// saramaLib is IBM's sarama.
type saramaLib struct{}

// scramClient is the part of SCRAM that sarama leaves to its user.
type scramClient struct{ *scram.ClientConversation }

func (c *scramClient) Begin(user, password, authorization string) error {
	client, err := scram.HashGeneratorFcn(sha256.New).NewClient(user, password, authorization)
	if err == nil {
		c.ClientConversation = client.NewConversation()
	}
	return err
}

func (saramaLib) config() (*sarama.Config, error) {
	config := sarama.NewConfig()
	config.ClientID = clientID()
	config.Version = sarama.V2_8_0_0
	config.Metadata.RefreshFrequency = metadataAge()
	config.RackID = option("rack", "")
	trusted, err := tlsConfig()
	if err != nil {
		return nil, err
	}
	config.Net.TLS.Enable, config.Net.TLS.Config = trusted != nil, trusted
	if has("sasl") {
		config.Net.SASL.Enable = true
		config.Net.SASL.User, config.Net.SASL.Password = option("user", ""), option("password", "")
		config.Net.SASL.Mechanism = sarama.SASLTypePlaintext
		if option("sasl", "") == "scram" {
			config.Net.SASL.Mechanism = sarama.SASLTypeSCRAMSHA256
			config.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &scramClient{} }
		}
	}
	return config, nil
}

func (lib saramaLib) produce(ctx context.Context) (int64, error) {
	config, err := lib.config()
	if err != nil {
		return 0, err
	}
	transaction := option("transactional", "")
	config.Producer.Return.Successes = true
	config.Producer.Flush.Frequency = 5 * time.Millisecond
	config.Producer.RequiredAcks = map[string]sarama.RequiredAcks{"0": 0, "1": 1, "all": -1}[option("acks", "all")]
	if has("idempotent") || transaction != "" {
		config.Producer.Idempotent, config.Net.MaxOpenRequests = true, 1
		config.Producer.RequiredAcks = sarama.WaitForAll
		config.Producer.Transaction.ID = transaction
	}
	producer, err := sarama.NewAsyncProducer(seeds(), config)
	if err != nil {
		return 0, err
	}
	var good atomic.Int64
	drained := make(chan struct{}, 2)
	go func() {
		for sent := range producer.Successes() {
			good.Add(1)
			acked(sent.Metadata.(int64), sent.Partition, sent.Offset)
		}
		drained <- struct{}{}
	}()
	go func() {
		for failed := range producer.Errors() {
			fail(failed.Err)
		}
		drained <- struct{}{}
	}()
	err = lib.send(ctx, producer, transaction != "")
	producer.AsyncClose()
	<-drained
	<-drained
	return good.Load(), err
}

func (saramaLib) send(ctx context.Context, producer sarama.AsyncProducer, transactional bool) error {
	n := int64(0)
	for ; n < count() && pace(ctx, n); n++ {
		if transactional && n%batch() == 0 {
			if n > 0 {
				if err := producer.CommitTxn(); err != nil {
					return err
				}
			}
			if err := producer.BeginTxn(); err != nil {
				return err
			}
		}
		producer.Input() <- &sarama.ProducerMessage{
			Topic: topic(), Key: sarama.ByteEncoder(key(n)), Value: sarama.ByteEncoder(value(n)), Metadata: n,
		}
	}
	if transactional && n > 0 {
		return producer.CommitTxn()
	}
	return nil
}

// saramaMember is one member of a consumer group.
type saramaMember struct {
	seen atomic.Int64
	stop context.CancelFunc
}

func (*saramaMember) Setup(s sarama.ConsumerGroupSession) error {
	moved("assigned", s.Claims())
	return nil
}

func (*saramaMember) Cleanup(s sarama.ConsumerGroupSession) error {
	moved("revoked", s.Claims())
	return nil
}

func (m *saramaMember) ConsumeClaim(s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case <-s.Context().Done():
			return nil
		case message, open := <-claim.Messages():
			if !open || m.seen.Load() >= count() {
				return nil
			}
			record(message.Value, message.Partition, message.Offset)
			s.MarkMessage(message, "")
			if m.seen.Add(1) >= count() {
				m.stop()
			}
		}
	}
}

func (lib saramaLib) consume(ctx context.Context) (int64, error) {
	config, err := lib.config()
	if err != nil {
		return 0, err
	}
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Interval = 500 * time.Millisecond
	config.Consumer.IsolationLevel = sarama.ReadCommitted
	config.Consumer.Return.Errors = true
	members, err := sarama.NewConsumerGroup(seeds(), group(), config)
	if err != nil {
		return 0, err
	}
	go func() {
		for err := range members.Errors() {
			// A connection that ended is told of here too, while sarama makes a new one and goes on.
			if errors.Is(err, io.EOF) || errors.As(err, new(*net.OpError)) {
				show(map[string]any{"event": "retried", "reason": err.Error()})
				continue
			}
			fail(err)
		}
	}()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	member := &saramaMember{stop: stop}
	for ctx.Err() == nil {
		if err := members.Consume(ctx, []string{topic()}, member); err != nil && ctx.Err() == nil {
			return member.seen.Load(), err
		}
	}
	return member.seen.Load(), members.Close()
}

func (lib saramaLib) admin() (sarama.ClusterAdmin, sarama.Client, error) {
	config, err := lib.config()
	if err != nil {
		return nil, nil, err
	}
	client, err := sarama.NewClient(seeds(), config)
	if err != nil {
		return nil, nil, err
	}
	admin, err := sarama.NewClusterAdminFromClient(client)
	return admin, client, err
}

func (lib saramaLib) view(context.Context) (map[string]any, error) {
	admin, client, err := lib.admin()
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	controller, err := client.Controller()
	if err != nil {
		return nil, err
	}
	brokers, topics := []any{}, []any{}
	for _, one := range client.Brokers() {
		host, port, err := net.SplitHostPort(one.Addr())
		if err != nil {
			return nil, err
		}
		number, _ := strconv.Atoi(port)
		rack := one.Rack()
		brokers = append(brokers, broker(one.ID(), host, number, &rack))
	}
	names := []string{topic()}
	if !has("topic") {
		if names, err = client.Topics(); err != nil {
			return nil, err
		}
	}
	found, err := admin.DescribeTopics(names)
	if err != nil {
		return nil, err
	}
	for _, one := range found {
		if one.Err != sarama.ErrNoError {
			return nil, fmt.Errorf("%s: %w", one.Name, one.Err)
		}
		partitions := []map[string]any{}
		for _, p := range one.Partitions {
			partitions = append(partitions, partitionView(p.ID, p.Leader, p.Replicas))
		}
		topics = append(topics, topicView(one.Name, partitions))
	}
	return map[string]any{"cluster_id": nil, "controller": controller.ID(), "brokers": brokers, "topics": topics}, nil
}

func (lib saramaLib) act(ctx context.Context, action string) error {
	switch action {
	case "create-topic", "list-groups":
	default:
		return viewAs(ctx, lib, action)
	}
	admin, _, err := lib.admin()
	if err != nil {
		return err
	}
	defer admin.Close()
	if action == "create-topic" {
		detail := &sarama.TopicDetail{NumPartitions: int32(number("partitions", 3)), ReplicationFactor: 1}
		if err := admin.CreateTopic(topic(), detail, false); err != nil {
			return err
		}
		show(map[string]any{"event": "created", "topic": topic()})
		return nil
	}
	groups, err := admin.ListConsumerGroups()
	names := []string{}
	for name := range groups {
		names = append(names, name)
	}
	show(map[string]any{"event": "groups", "groups": names})
	return err
}
