# A proxy between the pusher and Redis that behaves badly on request.
#
#   my $proxy = FeatureEngine::Proxy->start($redis);
#   set feature_engine.redis_url to $proxy->url
#   $proxy->mode('slow');
#
# Modes: pass; slow (some kilobytes every few milliseconds, each way); deaf (connections are
# accepted, nothing is read); swallow (everything is read and nothing comes back); garbage
# (whatever is asked, the answer is no protocol); cut (connections end after a few kilobytes).
package FeatureEngine::Proxy;

use strict;
use warnings;
use File::Temp;
use IO::Select;
use IO::Socket::UNIX;
use POSIX ();
use Time::HiRes qw(usleep);

use constant { TICK => 0.005, SLICE => 4096, LIMIT => 1 << 20, CUT_AFTER => 20_000 };

sub start
{
	my ($class, $redis) = @_;
	my $self = bless { dir => File::Temp->newdir, target => $redis->socket_path, owner => $$ },
	  $class;
	$self->mode('pass');
	my $listen = IO::Socket::UNIX->new(Local => $self->socket_path, Listen => 10)
	  or die "no socket for the proxy: $!";
	$self->{pid} = fork // die "no process for the proxy: $!";
	return $self if $self->{pid};
	eval { $self->serve($listen) };
	print STDERR "# proxy: $@" if $@;
	POSIX::_exit(0);
}

sub socket_path { return $_[0]->{dir} . '/proxy.sock' }
sub url { return 'unix://' . $_[0]->socket_path }

sub mode
{
	my ($self, $mode) = @_;
	my $file = $self->{dir} . '/mode';
	open(my $out, '>', "$file.new") or die $!;
	print $out $mode;
	close $out;
	rename("$file.new", $file) or die $!;
	return;
}

sub current_mode
{
	my ($self) = @_;
	open(my $in, '<', $self->{dir} . '/mode') or return 'pass';
	return scalar <$in>;
}

# The proxy's process ------------------------------------------------------------------

sub serve
{
	my ($self, $listen) = @_;
	my @pairs;
	local $SIG{PIPE} = 'IGNORE';
	while (getppid() == $self->{owner})
	{
		my $mode = $self->current_mode;
		if (IO::Select->new($listen)->can_read(@pairs && $mode eq 'pass' ? 0 : TICK))
		{
			my $client = $listen->accept;
			my $server = IO::Socket::UNIX->new(Peer => $self->{target});
			$_->blocking(0) foreach grep { $_ } $client, $server;
			push @pairs, { client => $client, server => $server, up => '', down => '', bytes => 0 }
			  if $client && $server;
		}
		wait_for_any(@pairs) if $mode eq 'pass';
		@pairs = grep { tend($_, $mode) } @pairs;
	}
	return;
}

sub wait_for_any
{
	my @sockets = map { ($_->{client}, $_->{server}) } @_;
	IO::Select->new(@sockets)->can_read(TICK) if @sockets;
	return;
}

# Moves what may be moved. False: the connection is over.
sub tend
{
	my ($pair, $mode) = @_;
	return 1 if $mode eq 'deaf';
	my $slice = $mode eq 'slow' ? SLICE : 65536;
	my $alive = take($pair->{client}, \$pair->{up}, $slice) &&
	  take($pair->{server}, \$pair->{down}, $slice);
	if ($mode eq 'swallow' || $mode eq 'garbage')
	{
		my $asked = length $pair->{up};
		$pair->{up} = $pair->{down} = '';
		$pair->{down} = "<html>no\r\n" if $asked && $mode eq 'garbage';
	}
	$pair->{bytes} += give($pair->{server}, \$pair->{up}, $slice);
	give($pair->{client}, \$pair->{down}, $slice);
	return $alive && !($mode eq 'cut' && $pair->{bytes} > CUT_AFTER);
}

sub take
{
	my ($socket, $buffer, $max) = @_;
	return 1 if length $$buffer > LIMIT;
	my $n = sysread($socket, $$buffer, $max, length $$buffer);
	return defined $n ? $n > 0 : $!{EAGAIN} || $!{EWOULDBLOCK};
}

sub give
{
	my ($socket, $buffer, $max) = @_;
	return 0 unless length $$buffer;
	my $n = syswrite($socket, $$buffer, $max) // 0;
	substr($$buffer, 0, $n) = '';
	return $n;
}

sub DESTROY
{
	my ($self) = @_;
	return unless $self->{owner} == $$;
	local $?;
	kill 'TERM', $self->{pid};
	waitpid $self->{pid}, 0;
	return;
}

1;
